"""
One function per command this service consumes.

Returning acknowledges the message, raising `Unavailable` has it delivered again, raising
anything else sends it to the dead letters. Delivery is at least once: an outcome counts once
because of its lease, or of its request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import structlog

from stella_contracts.errors import BusUnavailable
from stella_contracts.health import CheckTrigger, FinishedDraft
from stella_contracts.messages import (
    Finished,
    RunDraftCheck,
    RunRequestedCheck,
    RunScheduledChecks,
)
from stella_health_worker.clock import DatabaseClock
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.topology import REPLIES
from stella_runtime.persistence import Database
from stella_runtime.persistence.scheduling import Outcome, Target

log = structlog.get_logger()


class Lanes(Protocol):
    async def run(self, targets: Sequence[Target], *, slow: bool) -> None: ...
    async def run_now(self, target: Target) -> None: ...


class Prober(Protocol):
    async def probe(self, target: Target) -> Outcome: ...


class Publisher(Protocol):
    async def publish(self, message: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What the handlers need. `app.py` builds it; a test builds its own."""

    database: Database
    lanes: Lanes
    bus: Publisher
    clock: DatabaseClock
    prober: Prober
    """For drafts."""


AskedCheck = RunRequestedCheck | RunDraftCheck


async def run_scheduled_checks(command: RunScheduledChecks, tools: Tools) -> None:
    """Check the integrations whose lease still holds, side by side."""
    await _run_held(command, tools, slow=False)


async def run_slow_checks(command: RunScheduledChecks, tools: Tools) -> None:
    """The same for targets that did not answer the last time, in a lane of their own."""
    await _run_held(command, tools, slow=True)


async def _run_held(command: RunScheduledChecks, tools: Tools, *, slow: bool) -> None:
    async with tools.database.system_transaction() as transaction:
        targets = await transaction.scheduling.load_scheduled(command.checks)
    lost = len(command.checks) - len(targets)
    if lost:
        log.info("checks_skipped", checks=lost, reason="lease_lost_or_removed")
    if targets:
        tools.clock.hear(targets[0].read_at)
        await tools.lanes.run(targets, slow=slow)


async def run_asked_check(command: AskedCheck, tools: Tools) -> None:
    """What the queue of those who wait holds."""
    if isinstance(command, RunDraftCheck):
        await run_draft_check(command, tools)
    else:
        await run_requested_check(command, tools)


async def run_draft_check(command: RunDraftCheck, tools: Tools) -> None:
    """Check what is not registered, and tell who waits for it. Nobody else hears of it."""
    structlog.contextvars.bind_contextvars(
        request_id=command.request_id, tenant_id=command.tenant_id
    )
    if tools.clock.now() > command.expires_at:
        log.info("check_skipped", check_id=str(command.check_id), reason="nobody_waits")
        return
    # Neither lanes nor breakers: what a draft meets must not count for what is registered.
    outcome = await tools.prober.probe(_target_of(command))
    result = FinishedDraft(
        check_id=command.check_id,
        status=outcome.result.status,
        error_code=outcome.result.error_code,
        error_message=outcome.result.error_message,
        latency_ms=outcome.latency_ms,
        checked_at=outcome.checked_at,
        steps=list(outcome.steps),
    )
    await _tell(command.check_id, tools, result.model_dump(mode="json"))


def _target_of(draft: RunDraftCheck) -> Target:
    return Target(
        check_id=draft.check_id,
        trigger=CheckTrigger.DRAFT,
        # In log lines and spans: there is no other.
        integration_id=draft.check_id,
        tenant_id=draft.tenant_id,
        provider_type=draft.provider_type,
        config=draft.config,
        auth_ref_uri=draft.auth_ref_uri,
        timeout_seconds=draft.timeout_seconds,
        version=0,
        checks_before=0,
        connection=None,
        lease_token=None,
    )


async def run_requested_check(command: RunRequestedCheck, tools: Tools) -> None:
    """Check one integration now, and tell who waits for it."""
    structlog.contextvars.bind_contextvars(
        request_id=command.request_id,
        tenant_id=command.tenant_id,
        integration_id=str(command.integration_id),
    )
    async with tools.database.system_transaction() as transaction:
        target = await transaction.scheduling.find_requested(command.check_id)
    if target is None:
        log.info("check_skipped", check_id=str(command.check_id), reason="answered_or_withdrawn")
        return
    tools.clock.hear(target.read_at)
    await tools.lanes.run_now(target)
    await _tell(command.check_id, tools)


async def _tell(check_id: UUID, tools: Tools, outcome: dict[str, Any] | None = None) -> None:
    message = Message(
        id=str(check_id),
        exchange=REPLIES,
        routing_key=str(check_id),
        body=Finished(id=check_id, outcome=outcome).model_dump_json().encode(),
    )
    try:
        await tools.bus.publish(message)
    except BusUnavailable as error:
        # A hint: who waits looks into the database as well, or asks again.
        log.warning("reply_not_sent", check_id=str(check_id), reason=str(error))
