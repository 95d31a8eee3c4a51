"""The end of audit entries: the database drops them, and keeps the hash of the last one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

ENTRIES_AT_ONCE = 2_000
"""Of each tenant, by one statement, well within the time that a statement may take."""

_EXPIRE = text(
    "select tenant, entries, until from expire_audit_logs(cast(:kept as interval), :most)"
)


@dataclass(frozen=True, slots=True)
class Expired:
    """What has ended of one tenant's log."""

    tenant_id: str
    entries: int
    until: int
    """The place in the chain of the last entry that is gone."""


class AuditExpiry:
    """Drops what is old, of every tenant."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def expire(self, kept: timedelta, *, at_once: int = ENTRIES_AT_ONCE) -> Sequence[Expired]:
        """
        Drop entries that are older than `kept`, in the order of tenants.

        None while somebody verifies a chain, and none of a tenant from the first entry on that
        is not as it was written.
        """
        rows = await self._session.execute(_EXPIRE, {"kept": kept, "most": at_once})
        return [Expired(row.tenant, row.entries, row.until) for row in rows]
