"""Table `incidents`: outages. At most one is open for each integration, and for each origin."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import exists, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, aliased, mapped_column

from stella_contracts.health import ErrorCode, IncidentScope
from stella_runtime.ids import new_id
from stella_runtime.persistence.base import Base, MomentColumn, TenantOwned


class IncidentRow(TenantOwned, Base):
    __tablename__ = "incidents"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    integration_id: Mapped[UUID | None]
    since: Mapped[datetime] = mapped_column(MomentColumn)
    opened_at: Mapped[datetime] = mapped_column(MomentColumn)
    updated_at: Mapped[datetime] = mapped_column(MomentColumn)
    resolved_at: Mapped[datetime | None] = mapped_column(MomentColumn)
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    scope: Mapped[str | None]
    origin: Mapped[str | None]
    parent_id: Mapped[UUID | None]
    affected: Mapped[int]
    announced_at: Mapped[datetime | None] = mapped_column(MomentColumn)
    reminded_at: Mapped[datetime | None] = mapped_column(MomentColumn)


@dataclass(frozen=True, slots=True)
class Root:
    """What an outage may have in common with others: a host, or a vault."""

    scope: IncidentScope
    origin: str


@dataclass(frozen=True, slots=True)
class StoredIncident:
    """One outage, from its first failure to its end."""

    id: UUID
    tenant_id: str
    integration_id: UUID | None
    """None for the incident of a host or a vault, which has those of integrations below it."""
    since: datetime
    opened_at: datetime
    resolved_at: datetime | None
    error_code: ErrorCode | None
    error_message: str | None
    root: Root | None
    parent_id: UUID | None
    affected: int
    announced: bool
    """Whether its alert was sent. Only then is its end."""


class Incidents:
    """Outages. Opening and resolving say whether they did: only the first may announce it."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def open_once(
        self,
        tenant_id: str,
        integration_id: UUID,
        *,
        since: datetime,
        error_code: ErrorCode | None,
        error_message: str | None,
        root: Root | None = None,
    ) -> StoredIncident | None:
        """Open an incident, or return None if one is open. Nobody has been told of it yet."""
        now = datetime.now(UTC)
        row = await self._session.scalar(
            insert(IncidentRow)
            .values(
                id=new_id(),
                tenant_id=tenant_id,
                integration_id=integration_id,
                since=since,
                opened_at=now,
                updated_at=now,
                error_code=error_code,
                error_message=error_message,
                scope=root and root.scope,
                origin=root and root.origin,
                announced_at=None,
            )
            .on_conflict_do_nothing()
            .returning(IncidentRow)
        )
        return _stored(row)

    async def update_cause(
        self,
        integration_id: UUID,
        *,
        error_code: ErrorCode | None,
        error_message: str | None,
        root: Root | None = None,
    ) -> UUID | None:
        """
        The outage goes on, for another reason.

        If that is no longer the reason of the incident above it, it leaves that, and what it
        left is returned.
        """
        row = await self._session.scalar(_open(integration_id).with_for_update())
        if row is None:
            return None
        scope, origin = (None, None) if root is None else (root.scope, root.origin)
        stays = (row.scope, row.origin) == (scope, origin)
        await self._session.execute(
            update(IncidentRow)
            .where(IncidentRow.id == row.id)
            .values(
                error_code=error_code,
                error_message=error_message,
                scope=scope,
                origin=origin,
                parent_id=row.parent_id if stays else None,
                updated_at=datetime.now(UTC),
            )
            .execution_options(synchronize_session=False)
        )
        return None if stays else row.parent_id

    async def resolve_once(self, integration_id: UUID) -> StoredIncident | None:
        """Resolve the open incident, or return None if none is open."""
        now = datetime.now(UTC)
        row = await self._session.scalar(
            update(IncidentRow)
            .where(IncidentRow.integration_id == integration_id, IncidentRow.resolved_at.is_(None))
            .values(resolved_at=now, updated_at=now)
            .returning(IncidentRow)
            .execution_options(synchronize_session=False)
        )
        return _stored(row)

    async def resolve_left(self, parent_ids: Sequence[UUID]) -> Sequence[StoredIncident]:
        """Resolve those of these incidents that no open one is below any more."""
        ids = sorted(set(parent_ids))
        # Held first: of two children that end at once, the second sees the end of the first.
        await self._session.execute(
            select(IncidentRow.id)
            .where(IncidentRow.id.in_(ids))
            .order_by(IncidentRow.id)
            .with_for_update()
        )
        child = aliased(IncidentRow)
        is_needed = exists().where(child.parent_id == IncidentRow.id, child.resolved_at.is_(None))
        now = datetime.now(UTC)
        rows = await self._session.scalars(
            update(IncidentRow)
            .where(IncidentRow.id.in_(ids), IncidentRow.resolved_at.is_(None), ~is_needed)
            .values(resolved_at=now, updated_at=now)
            .returning(IncidentRow)
            .execution_options(synchronize_session=False)
        )
        return [stored_incident(row) for row in rows]

    async def find_open(self, integration_id: UUID) -> StoredIncident | None:
        return _stored(await self._session.scalar(_open(integration_id)))


def _open(integration_id: UUID) -> Any:
    return select(IncidentRow).where(
        IncidentRow.integration_id == integration_id, IncidentRow.resolved_at.is_(None)
    )


def _stored(row: IncidentRow | None) -> StoredIncident | None:
    return None if row is None else stored_incident(row)


def stored_incident(row: Any) -> StoredIncident:
    """From a row of the table, or of a query that has its columns."""
    return StoredIncident(
        id=row.id,
        tenant_id=row.tenant_id,
        integration_id=row.integration_id,
        since=row.since,
        opened_at=row.opened_at,
        resolved_at=row.resolved_at,
        error_code=None if row.error_code is None else ErrorCode(row.error_code),
        error_message=row.error_message,
        root=None if row.scope is None else Root(IncidentScope(row.scope), row.origin),
        parent_id=row.parent_id,
        affected=row.affected,
        announced=row.announced_at is not None,
    )
