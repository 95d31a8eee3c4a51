"""
Turns due rows into messages, no faster than workers take them.

Any number of schedulers may run: each row is claimed once.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from stella_contracts.errors import BusUnavailable, Unavailable
from stella_contracts.messages import RunScheduledChecks, ScheduledCheck
from stella_health_worker.taking import LIVE_MESSAGES, SLOW_MESSAGES
from stella_runtime.ids import new_id
from stella_runtime.messaging.bus import Depth, Message
from stella_runtime.messaging.topology import COMMANDS, SCHEDULE, SLOW
from stella_runtime.persistence import Database
from stella_runtime.persistence.leases import LEASE_MARGIN
from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()

CLAIM_LIMIT = 1000
CHECKS_PER_MESSAGE = 50
TICK_SECONDS = 0.5
NO_ROOM_SECONDS = 0.1
"""Until workers have taken some of what waits; less than one of them needs for that."""
LONGEST_PAUSE_SECONDS = 15.0


class Bus(Protocol):
    async def publish(self, message: Message) -> None: ...
    async def measure(self, queues: Sequence[str]) -> Mapping[str, Depth]: ...


@dataclass(frozen=True, slots=True)
class Tick:
    """What came of one look at the schedule."""

    rows: int
    """How many were due, and were claimed or put off."""
    room: int
    """How many might have been."""


class Scheduler:
    """Claims what is due and publishes it, in messages of many checks."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
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
                tick = await self.tick()
            except Unavailable as error:
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                log.warning("tick_failed", reason=str(error), retry_seconds=pause)
            else:
                pause = _pause(tick)
            await asyncio.sleep(pause)

    async def tick(self) -> Tick:
        """
        Publish what is due now and has room.

        The claim is committed before anything is published. A message that is lost costs
        time, not a check: its leases end, and the rows are due again. Raises Unavailable.
        """
        started_ns = time.time_ns()
        depths = await self._bus.measure([SCHEDULE, SLOW])
        limit = min(_room(depths[SCHEDULE], LIVE_MESSAGES), CLAIM_LIMIT)
        if not limit:
            return Tick(rows=0, room=0)
        async with self._database.system_transaction() as transaction:
            claimed = await transaction.leases.claim(
                limit,
                slow_limit=_room(depths[SLOW], SLOW_MESSAGES),
                margin=self._lease_margin,
            )
        messages = [*_messages(SCHEDULE, claimed.checks), *_messages(SLOW, claimed.slow_checks)]
        checks = len(claimed.checks) + len(claimed.slow_checks)
        if messages:
            with tracing.new_trace("schedule checks", started_ns=started_ns, checks=checks):
                await self._publish(messages)
        self._metrics.claimed(checks)
        if claimed.put_off:
            self._metrics.put_off(claimed.put_off)
            log.info("checks_put_off", checks=claimed.put_off)
        return Tick(rows=claimed.rows, room=limit)

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


def _room(depth: Depth, waiting: int) -> int:
    """
    How many checks may join a queue in which so many messages may wait for each worker.

    A check that waits longer than its lease holds is claimed again, and was queued in vain: with
    too much in the queue, workers would find nothing else. Without a worker there is room for
    one, so that a queue says that it needs one.
    """
    messages = waiting * max(depth.consumers, 1) - depth.messages
    return max(messages, 0) * CHECKS_PER_MESSAGE


def _pause(tick: Tick) -> float:
    if tick.rows < tick.room:
        return TICK_SECONDS
    return 0 if tick.room == CLAIM_LIMIT else NO_ROOM_SECONDS


def _messages(
    queue: str, checks: Sequence[ScheduledCheck]
) -> list[tuple[str, Sequence[ScheduledCheck]]]:
    return [
        (queue, checks[start : start + CHECKS_PER_MESSAGE])
        for start in range(0, len(checks), CHECKS_PER_MESSAGE)
    ]
