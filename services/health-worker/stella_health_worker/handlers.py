"""
One function per command this service consumes.

Returning acknowledges the message, raising `Unavailable` has it delivered again, raising
anything else sends it to the dead letters. Delivery is at least once: an outcome counts once
because of its lease, or of its request.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

import structlog

from stella_contracts.errors import BusUnavailable
from stella_contracts.messages import Finished, RunRequestedCheck, RunScheduledChecks
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.topology import REPLIES
from stella_runtime.persistence import Database
from stella_runtime.persistence.scheduling import Outcome, Target

log = structlog.get_logger()


class Prober(Protocol):
    async def probe(self, target: Target) -> Outcome: ...


class Recorder(Protocol):
    async def record(self, outcome: Outcome) -> None: ...


class Publisher(Protocol):
    async def publish(self, message: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What the handlers need. `app.py` builds it; a test builds its own."""

    database: Database
    prober: Prober
    recorder: Recorder
    bus: Publisher
    slots: asyncio.Semaphore
    """How many scheduled checks run at once in this process."""


async def run_scheduled_checks(command: RunScheduledChecks, tools: Tools) -> None:
    """Check the integrations whose lease still holds, side by side."""
    async with tools.database.system_transaction() as transaction:
        targets = await transaction.scheduling.load_scheduled(command.checks)
    lost = len(command.checks) - len(targets)
    if lost:
        log.info("checks_skipped", checks=lost, reason="lease_lost_or_removed")
    # Each to its end: what one check meets must not cost the results of the others.
    ends = await asyncio.gather(
        *(_check_in_slot(target, tools) for target in targets), return_exceptions=True
    )
    for end in ends:
        if end is not None:
            raise end


async def _check_in_slot(target: Target, tools: Tools) -> None:
    async with tools.slots:
        outcome = await tools.prober.probe(target)
    await tools.recorder.record(outcome)


async def run_requested_check(command: RunRequestedCheck, tools: Tools) -> None:
    """Check one integration now, and tell who waits for it."""
    async with tools.database.system_transaction() as transaction:
        target = await transaction.scheduling.find_requested(command.check_id)
    if target is None:
        log.info("check_skipped", check_id=str(command.check_id), reason="answered_or_withdrawn")
        return
    # Never behind the schedule: it takes no slot of its own.
    outcome = await tools.prober.probe(target)
    await tools.recorder.record(outcome)
    await _tell(command, tools)


async def _tell(command: RunRequestedCheck, tools: Tools) -> None:
    message = Message(
        id=str(command.check_id),
        exchange=REPLIES,
        routing_key=str(command.check_id),
        body=Finished(id=command.check_id).model_dump_json().encode(),
    )
    try:
        await tools.bus.publish(message)
    except BusUnavailable as error:
        # A hint: who waits looks into the database as well.
        log.warning("reply_not_sent", check_id=str(command.check_id), reason=str(error))
