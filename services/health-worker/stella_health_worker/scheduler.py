"""Turns due rows into messages. Any number of schedulers may run: each row is claimed once."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

import structlog

from stella_contracts.errors import BusUnavailable, Unavailable
from stella_contracts.messages import RunScheduledChecks, ScheduledCheck
from stella_runtime.ids import new_id
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.topology import COMMANDS, SCHEDULE, SLOW
from stella_runtime.persistence import Database
from stella_runtime.persistence.leases import LEASE_MARGIN
from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()

CLAIM_LIMIT = 1000
CHECKS_PER_MESSAGE = 50
TICK_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0


class Publisher(Protocol):
    async def publish(self, message: Message) -> None: ...


class Scheduler:
    """Claims what is due and publishes it, in messages of many checks."""

    def __init__(
        self,
        database: Database,
        bus: Publisher,
        metrics: Metrics,
        *,
        lease_margin: timedelta = LEASE_MARGIN,
    ) -> None:
        self._database = database
        self._bus = bus
        self._metrics = metrics
        self._lease_margin = lease_margin

    async def run(self) -> None:
        """Tick until cancelled. What we depend on may go away: it is tried again, more slowly."""
        pause = TICK_SECONDS
        while True:
            try:
                claimed = await self.tick()
            except Unavailable as error:
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                log.warning("tick_failed", reason=str(error), retry_seconds=pause)
            else:
                pause = 0 if claimed == CLAIM_LIMIT else TICK_SECONDS
            await asyncio.sleep(pause)

    async def tick(self) -> int:
        """
        Publish what is due now, and say how many rows were due.

        The claim is committed before anything is published. A message that is lost costs
        time, not a check: its leases end, and the rows are due again.
        """
        started_ns = time.time_ns()
        async with self._database.system_transaction() as transaction:
            claimed = await transaction.leases.claim(CLAIM_LIMIT, margin=self._lease_margin)
        messages = [*_messages(SCHEDULE, claimed.checks), *_messages(SLOW, claimed.slow_checks)]
        checks = len(claimed.checks) + len(claimed.slow_checks)
        if messages:
            with tracing.new_trace("schedule checks", started_ns=started_ns, checks=checks):
                await self._publish(messages)
        self._metrics.claimed(checks)
        if claimed.put_off:
            self._metrics.put_off(claimed.put_off)
            log.info("late_checks_put_off", checks=claimed.put_off)
        return claimed.rows

    async def _publish(self, messages: Sequence[tuple[str, Sequence[ScheduledCheck]]]) -> None:
        for position, (queue, checks) in enumerate(messages):
            command = RunScheduledChecks(checks=list(checks))
            message = Message(
                id=str(new_id()),
                exchange=COMMANDS,
                routing_key=queue,
                body=command.model_dump_json().encode(),
            )
            try:
                await self._bus.publish(message)
            except BusUnavailable:
                # Due again at once, and not only when the leases end.
                left = [check for _, checks in messages[position:] for check in checks]
                async with self._database.system_transaction() as transaction:
                    await transaction.leases.release(left)
                raise


def _messages(
    queue: str, checks: Sequence[ScheduledCheck]
) -> list[tuple[str, Sequence[ScheduledCheck]]]:
    return [
        (queue, checks[start : start + CHECKS_PER_MESSAGE])
        for start in range(0, len(checks), CHECKS_PER_MESSAGE)
    ]
