"""What the audit log tells."""

from typing import Any
from uuid import UUID

from stella_contracts.model import Answer, UtcDatetime


class AuditEntry(Answer):
    """Who did what, to what, when. Details name changed fields and never hold a secret."""

    id: UUID
    actor: str
    action: str
    integration_id: UUID | None = None
    timestamp: UtcDatetime
    request_id: str
    outcome: str
    details: dict[str, Any]


class AuditPage(Answer):
    """Some entries, newest first, and where the next ones begin."""

    items: list[AuditEntry]
    next_cursor: str | None = None
