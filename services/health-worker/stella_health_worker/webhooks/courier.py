"""Queues events and takes them to endpoints, each by itself, so that none delays another."""

import asyncio
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from stella_contracts.errors import Unavailable
from stella_contracts.messages import Event, EventType, WebhookChange
from stella_contracts.webhooks import DeliveryAttempt
from stella_health_worker.webhooks.rules import Rules, Try, Verdict, judge
from stella_health_worker.webhooks.sender import Sender
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database, SystemTransaction
from stella_runtime.persistence.webhook_sending import Lease, Parcel
from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()

EVENTS_AT_ONCE = 500
MOST_WAITING = 10_000
"""For one endpoint. What comes on top is logged as dropped, and can be replayed."""
TURN_SECONDS = 10.0
"""An endpoint with much to send gives its slot to another one after this."""
GATHER_SECONDS = 0.05
"""After the first news: an outage of many comes as many events."""
PURGE_SECONDS = 600.0
PURGED_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process does at once, and how long it remembers."""

    working: int = 20
    """Endpoints that work, called at once."""
    failing: int = 5
    """Endpoints that fail, called at once: they wait for each other and not the others for them."""
    lease: timedelta = timedelta(seconds=60)
    """Longer than any try. An endpoint of a worker that died is taken over after this."""
    poll_seconds: float = 1.0
    log_age: timedelta = timedelta(days=7)


class Courier:
    """Any number may run, in any processes."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        metrics: Metrics,
        *,
        rules: Rules | None = None,
        limits: Limits | None = None,
        drain_seconds: float = 20.0,
    ) -> None:
        self._database = database
        self._sender = sender
        self._metrics = metrics
        self._rules = rules or Rules()
        self._limits = limits or Limits()
        self._drain_seconds = drain_seconds
        self._turns: dict[bool, set[asyncio.Task[None]]] = {False: set(), True: set()}
        self._changed = asyncio.Event()
        self._stopping = False
        self._purged_at = -PURGE_SECONDS

    def wake(self) -> None:
        """Look for events now, and not at the next poll."""
        self._changed.set()

    async def run(self) -> None:
        """
        Work until cancelled. Then tries that run are finished and endpoints given back, within
        the drain time; what is cut off is tried again by another worker.
        """
        try:
            while True:
                self._changed.clear()
                try:
                    await self._round()
                except Unavailable as error:
                    log.warning("webhooks_not_looked_at", reason=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.poll_seconds):
                        await self._changed.wait()
                        await asyncio.sleep(GATHER_SECONDS)
        finally:
            self._stopping = True
            await self._drain()

    async def _round(self) -> None:
        full = True
        while full:
            async with self._database.system_transaction() as transaction:
                queued = await transaction.webhook_queue.fill(
                    limit=EVENTS_AT_ONCE, most_waiting=MOST_WAITING
                )
            full = queued.events == EVENTS_AT_ONCE
        for failing, most in ((False, self._limits.working), (True, self._limits.failing)):
            free = most - len(self._turns[failing])
            if free > 0:
                await self._claim(free, failing=failing)
        if time.monotonic() - self._purged_at >= PURGE_SECONDS:
            await self._purge()

    async def _claim(self, free: int, *, failing: bool) -> None:
        async with self._database.system_transaction() as transaction:
            leases = await transaction.webhooks.claim(
                free, lease=self._limits.lease, failing=failing
            )
        for lease in leases:
            turn = asyncio.create_task(self._turn(lease), name=f"webhook {lease.webhook_id}")
            self._turns[failing].add(turn)
            turn.add_done_callback(partial(self._ended, failing))

    def _ended(self, failing: bool, turn: asyncio.Task[None]) -> None:
        self._turns[failing].discard(turn)
        self.wake()
        if not turn.cancelled() and (error := turn.exception()) is not None:
            # The lease ends by itself.
            log.error("webhook_turn_failed", error=type(error).__name__, exc_info=error)

    async def _turn(self, lease: Lease) -> None:
        """Send what is due to one endpoint, one after the other."""
        ends_at = time.monotonic() + TURN_SECONDS
        try:
            while not self._stopping and time.monotonic() < ends_at:
                async with self._database.system_transaction() as transaction:
                    parcel = await transaction.webhooks.find_next(lease, hold=self._limits.lease)
                if parcel is None or not await self._deliver(lease, parcel):
                    break
        except Unavailable as error:
            log.warning("webhook_turn_ended", reason=str(error), webhook_id=str(lease.webhook_id))
        # Also after a failure of the database's, or the endpoint would wait for its lease to end.
        try:
            async with self._database.system_transaction() as transaction:
                await transaction.webhooks.free(lease)
        except Unavailable as error:
            log.warning("webhook_not_freed", reason=str(error), webhook_id=str(lease.webhook_id))

    async def _deliver(self, lease: Lease, parcel: Parcel) -> bool:
        """Make one try and store it. False when the turn is over."""
        started_at, started = datetime.now(UTC), time.perf_counter()
        with (
            tracing.resumed(tracing.headers_of(parcel.body)),
            tracing.span(
                "deliver webhook",
                tenant_id=parcel.tenant_id,
                action="webhook.deliver",
                message_id=str(parcel.event_id),
                attempt=parcel.tries + 1,
            ),
        ):
            tried = await self._sender.send(parcel)
        attempt = DeliveryAttempt(
            at=started_at,
            status_code=tried.status_code,
            error=tried.error,
            latency_ms=round((time.perf_counter() - started) * 1000),
        )
        verdict = judge(
            parcel,
            tried,
            self._rules,
            now=datetime.now(UTC),
            spread=random.random(),  # noqa: S311 - spreads load, guards nothing
        )
        async with self._database.system_transaction() as transaction:
            ours = await transaction.webhooks.record(
                lease,
                parcel,
                attempt,
                state=verdict.state,
                next_attempt_at=verdict.next_attempt_at,
                endpoint=verdict.endpoint,
                hold=self._limits.lease,
            )
            if ours:
                _announce(transaction, parcel, verdict)
        self._tell(parcel, tried, verdict, attempt, counted=ours)
        return ours and tried.error is None

    async def _purge(self) -> None:
        async with self._database.system_transaction() as transaction:
            purged = await transaction.webhook_queue.purge(
                self._limits.log_age, limit=PURGED_AT_ONCE
            )
        if purged < PURGED_AT_ONCE:
            self._purged_at = time.monotonic()

    async def _drain(self) -> None:
        running = self._turns[False] | self._turns[True]
        if running:
            await asyncio.wait(running, timeout=self._drain_seconds)
        left = self._turns[False] | self._turns[True]
        for turn in left:
            turn.cancel()
        if left:
            await asyncio.wait(left)

    def _tell(
        self,
        parcel: Parcel,
        tried: Try,
        verdict: Verdict,
        attempt: DeliveryAttempt,
        *,
        counted: bool,
    ) -> None:
        outcome = verdict.state.value if counted else "lost_lease"
        self._metrics.webhook_try("retried" if outcome == "pending" else outcome)
        log.info(
            "webhook_tried",
            webhook_id=str(parcel.webhook_id),
            tenant_id=parcel.tenant_id,
            event_id=str(parcel.event_id),
            event_type=parcel.event_type,
            outcome=outcome,
            status=tried.status_code,
            error=tried.error,
            latency_ms=attempt.latency_ms,
        )


def _announce(transaction: SystemTransaction, parcel: Parcel, verdict: Verdict) -> None:
    if verdict.announce is None:
        return
    enabled = verdict.announce is EventType.WEBHOOK_ENABLED
    endpoint = verdict.endpoint
    change = WebhookChange(
        webhook_id=parcel.webhook_id,
        reason="recovered" if enabled else str(endpoint.disabled_reason),
        consecutive_failures=endpoint.consecutive_failures,
        failing_since=endpoint.failing_since,
    )
    transaction.outbox.report(
        Event.of(
            new_id(),
            verdict.announce,
            change,
            service="health-worker",
            tenant_id=parcel.tenant_id,
        )
    )
