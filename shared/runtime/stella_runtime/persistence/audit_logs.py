"""Table `audit_logs`: written with the change it tells of, and never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import BigInteger, FetchedValue, LargeBinary, Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.audit import AuditEntry, AuditRecord
from stella_runtime.ids import new_id
from stella_runtime.persistence.base import (
    Base,
    JsonColumn,
    JsonObject,
    MomentColumn,
    TenantOwned,
)


class AuditLogRow(TenantOwned, Base):
    __tablename__ = "audit_logs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    actor: Mapped[str]
    action: Mapped[str]
    integration_id: Mapped[UUID | None]
    timestamp: Mapped[datetime] = mapped_column(MomentColumn)
    request_id: Mapped[str]
    outcome: Mapped[str]
    details: Mapped[JsonObject] = mapped_column(JsonColumn)
    # Set by the database, see `audit_chain`.
    sequence: Mapped[int] = mapped_column(BigInteger, FetchedValue())
    hash: Mapped[bytes] = mapped_column(LargeBinary, FetchedValue())


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """What a listing is narrowed to. None narrows nothing."""

    integration_id: UUID | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditLogs:
    """The audit log of the session's tenant."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    def add(
        self,
        action: str,
        *,
        actor: str,
        request_id: str,
        integration_id: UUID | None = None,
        outcome: Literal["success", "refused", "failed"] = "success",
        details: dict[str, Any] | None = None,
    ) -> None:
        """Tell of what this transaction does, or was not to do. `details` must hold no secret."""
        self._session.add(
            AuditLogRow(
                id=new_id(),
                tenant_id=self._tenant_id,
                actor=actor,
                action=action,
                integration_id=integration_id,
                timestamp=datetime.now(UTC),
                request_id=request_id,
                outcome=outcome,
                details=details or {},
            )
        )

    async def list_page(
        self, filters: AuditFilters, *, limit: int, before: UUID | None
    ) -> Sequence[AuditEntry]:
        """At most `limit` entries, newest first, that are older than `before`."""
        query = _narrowed(filters)
        if before is not None:
            query = query.where(AuditLogRow.id < before)
        rows = await self._session.scalars(query.order_by(AuditLogRow.id.desc()).limit(limit))
        return [AuditEntry.model_validate(row) for row in rows]

    async def list_records(
        self, filters: AuditFilters, *, limit: int, after: int
    ) -> Sequence[AuditRecord]:
        """At most `limit` entries in the order of the chain, that come after a place of it."""
        query = _narrowed(filters).where(AuditLogRow.sequence > after)
        rows = await self._session.scalars(query.order_by(AuditLogRow.sequence).limit(limit))
        return [AuditRecord.model_validate(row) for row in rows]


def _narrowed(filters: AuditFilters) -> Select[AuditLogRow]:
    query = select(AuditLogRow)
    if filters.integration_id is not None:
        query = query.where(AuditLogRow.integration_id == filters.integration_id)
    if filters.actor is not None:
        query = query.where(AuditLogRow.actor == filters.actor)
    if filters.action is not None:
        query = query.where(AuditLogRow.action == filters.action)
    if filters.since is not None:
        query = query.where(AuditLogRow.timestamp >= filters.since)
    if filters.until is not None:
        query = query.where(AuditLogRow.timestamp < filters.until)
    return query
