"""What it means to mute, and to end a mute before its time."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from stella_api.integrations.credentials import find_credentials
from stella_api.integrations.service import Call
from stella_contracts.errors import IntegrationNotFound, MuteNotFound, MuteRejected, Problem
from stella_contracts.mutes import FURTHEST_START, LONGEST_MUTE, Mute, MuteCreate
from stella_runtime.persistence import Transaction

log = structlog.get_logger()


async def mute(transaction: Transaction, call: Call, new: MuteCreate) -> Mute:
    """Store a mute. Raises MuteRejected."""
    now = datetime.now(UTC)
    starts_at = new.starts_at or now
    problems = list(find_credentials({"reason": new.reason, "tag": new.tag or ""}))
    problems += _problems_of_span(starts_at, new.ends_at, now)
    if new.integration_id is not None:
        try:
            await transaction.integrations.get(new.integration_id)
        except IntegrationNotFound as error:
            problems.append(Problem("/integrationId", str(error)))
    if problems:
        raise MuteRejected(problems)
    stored = await transaction.mutes.add(
        new, starts_at=starts_at, created_by=call.actor.subject, created_at=now
    )
    _tell(transaction, call, "mute.created", stored)
    return stored


async def unmute(transaction: Transaction, call: Call, mute_id: UUID) -> None:
    """End a mute now. Raises MuteNotFound."""
    ended = await transaction.mutes.delete(mute_id)
    if ended is None:
        raise MuteNotFound(mute_id)
    _tell(transaction, call, "mute.deleted", ended)


def _problems_of_span(starts_at: datetime, ends_at: datetime, now: datetime) -> list[Problem]:
    if starts_at > now + FURTHEST_START:
        return [Problem("/startsAt", f"It may begin {FURTHEST_START.days} days ahead at most.")]
    if ends_at <= max(starts_at, now):
        return [Problem("/endsAt", "It must end after it begins, and after now.")]
    if ends_at > starts_at + LONGEST_MUTE:
        return [Problem("/endsAt", f"It may last {LONGEST_MUTE.days} days at most.")]
    return []


def _tell(transaction: Transaction, call: Call, action: str, told: Mute) -> None:
    details: dict[str, Any] = told.model_dump(
        mode="json", exclude={"integration_id", "created_by", "created_at"}, exclude_none=True
    )
    transaction.audit_logs.add(
        action,
        actor=call.actor.subject,
        request_id=call.request_id,
        integration_id=told.integration_id,
        details=details,
    )
    log.info(action.replace(".", "_"), action=action, mute_id=str(told.id))
