"""What the audit log tells."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field

from stella_contracts.model import Answer, UtcDatetime


def _hex(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


class AuditEntry(Answer):
    """Who did what, to what, when. Details name changed fields and never hold a secret."""

    id: UUID
    actor: str
    action: str
    integration_id: UUID | None = None
    timestamp: UtcDatetime
    request_id: str
    outcome: str = Field(description="`success`, `refused` or `failed`; the code is in `details`.")
    details: dict[str, Any]


class AuditRecord(AuditEntry):
    """An entry of an export, with its place in the chain."""

    sequence: int = Field(description="The place in the chain, counted from 1.")
    hash: Annotated[str, BeforeValidator(_hex)] = Field(
        description="SHA-256 over the hash before it and this entry, in hex."
    )


class AuditPage(Answer):
    """Some entries, newest first, and where the next ones begin."""

    items: list[AuditEntry]
    next_cursor: str | None = None


class AuditBreak(Answer):
    """Where the chain of an audit log is broken first."""

    sequence: int = Field(description="The place in the chain, counted from 1.")
    id: UUID | None = Field(default=None, description="The entry there; null if it is missing.")
    reason: Literal["altered", "missing"]


class AuditVerification(Answer):
    """Whether every entry of the audit log is there, in order, as it was written."""

    intact: bool
    entries: int = Field(description="How many entries were found right, from the first one on.")
    expired: int = Field(
        default=0, description="How many came before that one, and have ended with their time."
    )
    sequence: int | None = Field(
        default=None, description="The place of the newest entry that was verified."
    )
    hash: str | None = Field(
        default=None,
        description="Its hash (SHA-256, hex). Keep it elsewhere: a log that was written anew"
        " as a whole is told by it.",
    )
    first_broken: AuditBreak | None = None
