"""Stores what checks found: many outcomes in one transaction, each counted once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog

from stella_contracts.errors import StellaError, Unavailable
from stella_health_worker.announcing import Announcer, result_changed, thresholds_of
from stella_health_worker.back_off import backed_off
from stella_health_worker.expiry import watched
from stella_health_worker.flapping import Changes, Flap, watch
from stella_health_worker.verdict import Standing, Verdict, judge
from stella_runtime.persistence import Database, SystemTransaction
from stella_runtime.persistence.scheduling import Counted, CredentialEnd, Outcome, State
from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()

BATCH_LIMIT = 250
WAITING_LIMIT = 2000
"""Outcomes that may wait for the database. Beyond it, checks wait, and with them the queue."""


class RecorderStopped(Unavailable):
    """The outcome was not stored; the check will be run again by another worker."""

    code = "recorder_stopped"

    def __init__(self) -> None:
        super().__init__("The worker is stopping.")


@dataclass(frozen=True, slots=True)
class _Waiting:
    outcome: Outcome
    stored: asyncio.Future[None]


class Recorder:
    """Collects outcomes while a transaction runs, and stores them with the next one."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING_LIMIT)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Store what is given to `record` until the block ends."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            while not self._waiting.empty():
                _settle([self._waiting.get_nowait()], RecorderStopped())

    async def record(self, outcome: Outcome) -> None:
        """Return when the outcome is committed. Raises Unavailable if it could not be."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with tracing.resumed(outcome.trace_headers), tracing.span("record result"):
            await self._waiting.put(_Waiting(outcome, stored))
            await stored

    async def _run(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < BATCH_LIMIT and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            # What has begun is finished even when the worker stops: the checks were run.
            await asyncio.shield(asyncio.create_task(self._store(batch)))

    async def _store(self, batch: Sequence[_Waiting]) -> None:
        try:
            async with self._database.system_transaction() as transaction:
                await record_outcomes(transaction, [each.outcome for each in batch], self._metrics)
        except StellaError as error:
            log.warning("outcomes_not_stored", outcomes=len(batch), reason=str(error))
            _settle(batch, error)
        except Exception as error:
            # The consumers decide what becomes of the messages; nobody may wait for ever.
            _settle(batch, error)
            log.exception("outcomes_not_stored", outcomes=len(batch))
        else:
            _settle(batch, None)


def _settle(batch: Sequence[_Waiting], error: Exception | None) -> None:
    for each in batch:
        if each.stored.done():
            continue
        if error is None:
            each.stored.set_result(None)
        else:
            each.stored.set_exception(error)


async def record_outcomes(
    transaction: SystemTransaction, outcomes: Sequence[Outcome], metrics: Metrics
) -> None:
    """
    Write history, state, incidents and events of some checks.

    A result counts once, however often its message was delivered, and only for the
    configuration that it was found with: one of an older version goes to the history and
    changes nothing else.
    """
    scheduling = transaction.scheduling
    states = await scheduling.lock([each.target.integration_id for each in outcomes])
    finished = await scheduling.finish_requests(
        [each.target.check_id for each in outcomes if each.target.lease_token is None]
    )
    announcer = Announcer(transaction)
    book = _Book(announcer, states, finished)
    for outcome in outcomes:
        with tracing.resumed(outcome.trace_headers):
            if (reason := await book.enter(outcome)) is not None:
                metrics.stale(reason)
    superseded = await _not_yet_stored(transaction, book)
    if book.history or superseded:
        await scheduling.add_history([*book.history, *superseded])
    if book.counted:
        await scheduling.save(list(book.counted.values()))
        metrics.missed_slots(sum(each.missed_slots for each in book.counted.values()))
    await announcer.finish()
    for outcome in book.history:
        target, result = outcome.target, outcome.result
        metrics.check(
            provider_type=target.provider_type,
            tenant_id=target.tenant_id,
            status=result.status,
            error_code=result.error_code,
            trigger=target.trigger,
            latency_ms=outcome.latency_ms,
        )


async def _not_yet_stored(transaction: SystemTransaction, book: "_Book") -> Sequence[Outcome]:
    """What was found of former configurations, each check once, however often it came."""
    if not book.superseded:
        return []
    stored = await transaction.scheduling.already_stored(book.superseded)
    stored |= {each.target.check_id for each in book.history}
    found = {each.target.check_id: each for each in book.superseded}
    return [each for check_id, each in found.items() if check_id not in stored]


class _Book:
    """One batch: the states as they change from outcome to outcome."""

    def __init__(
        self, announcer: Announcer, states: dict[UUID, State], finished: set[UUID]
    ) -> None:
        self._announcer = announcer
        self._states = states
        self._finished = finished
        self.history: list[Outcome] = []
        self.superseded: list[Outcome] = []
        self.counted: dict[UUID, Counted] = {}

    async def enter(self, outcome: Outcome) -> str | None:
        """Count an outcome, or say why it does not count."""
        target = outcome.target
        state = self._states.get(target.integration_id)
        if state is None:
            return "removed"
        if target.version != state.version:
            self.superseded.append(outcome)
            return "superseded"
        if not self._is_first(outcome, state):
            return "lease_lost" if target.lease_token is not None else "answered_before"
        self.history.append(outcome)
        standing = _standing(state)
        verdict = backed_off(
            judge(standing, outcome.result, outcome.checked_at),
            standing,
            outcome.result.error_code,
            interval_seconds=state.period_seconds,
            is_scheduled=target.lease_token is not None,
        )
        since = state.status_since if verdict.status is state.status else outcome.checked_at
        flap = watch(
            _flap(state),
            result_changed=result_changed(state, outcome.result.status),
            former=state.status,
            status=verdict.status,
            at=outcome.checked_at,
            thresholds=thresholds_of(state),
        )
        end = watched(state.credential_end, outcome.result, outcome.checked_at)
        await self._announcer.follow(outcome, state, verdict, flap, since, end)
        self._remember(outcome, state, verdict, flap, since, end)
        return None

    def _is_first(self, outcome: Outcome, state: State) -> bool:
        token = outcome.target.lease_token
        if token is None:
            is_first = outcome.target.check_id in self._finished
            self._finished.discard(outcome.target.check_id)
            return is_first
        return state.leased and token == state.lease_token

    def _remember(
        self,
        outcome: Outcome,
        state: State,
        verdict: Verdict,
        flap: Flap,
        since: datetime,
        end: CredentialEnd | None,
    ) -> None:
        earlier = self.counted.get(state.integration_id)
        # A lease that an earlier outcome of this batch ended stays ended.
        ends_lease = outcome.target.lease_token is not None
        missed_slots = state.missed_slots if ends_lease else 0
        if earlier is not None:
            missed_slots += earlier.missed_slots
        if (
            earlier is not None
            and earlier.outcome.target.lease_token is not None
            and not ends_lease
        ):
            target = replace(outcome.target, lease_token=earlier.outcome.target.lease_token)
            outcome = replace(outcome, target=target)
        self.counted[state.integration_id] = Counted(
            outcome=outcome,
            status=verdict.status,
            status_since=since,
            consecutive_failures=verdict.failures,
            consecutive_successes=verdict.successes,
            failing_since=verdict.failing_since,
            recheck_seconds=verdict.recheck_seconds,
            pause_seconds=verdict.pause_seconds,
            missed_slots=missed_slots,
            result_changes=flap.changes.results,
            status_changes=flap.changes.statuses,
            flapping_since=flap.since,
            told_status=flap.told,
            credential_end=end,
        )
        self._states[state.integration_id] = replace(
            state,
            status=verdict.status,
            status_since=since,
            consecutive_failures=verdict.failures,
            consecutive_successes=verdict.successes,
            failing_since=verdict.failing_since,
            last_status=outcome.result.status,
            last_error_code=outcome.result.error_code,
            result_changes=flap.changes.results,
            status_changes=flap.changes.statuses,
            flapping_since=flap.since,
            told_status=flap.told,
            credential_end=end,
            leased=state.leased and not ends_lease,
        )


def _flap(state: State) -> Flap:
    changes = Changes(state.result_changes, state.status_changes)
    return Flap(changes, since=state.flapping_since, told=state.told_status)


def _standing(state: State) -> Standing:
    return Standing(
        status=state.status,
        failures=state.consecutive_failures,
        successes=state.consecutive_successes,
        failing_since=state.failing_since,
        last_error_code=state.last_error_code,
        failure_threshold=state.failure_threshold,
        success_threshold=state.success_threshold,
    )
