"""Table `incidents`: at most one open for each integration."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.health import ErrorCode
from stella_runtime.ids import new_id
from stella_runtime.persistence.base import Base, MomentColumn, TenantOwned


class IncidentRow(TenantOwned, Base):
    __tablename__ = "incidents"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    integration_id: Mapped[UUID]
    since: Mapped[datetime] = mapped_column(MomentColumn)
    opened_at: Mapped[datetime] = mapped_column(MomentColumn)
    updated_at: Mapped[datetime] = mapped_column(MomentColumn)
    resolved_at: Mapped[datetime | None] = mapped_column(MomentColumn)
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]


@dataclass(frozen=True, slots=True)
class StoredIncident:
    """One outage, from its first failure to its end."""

    id: UUID
    since: datetime
    opened_at: datetime
    resolved_at: datetime | None
    error_code: ErrorCode | None
    error_message: str | None


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
    ) -> StoredIncident | None:
        """Open an incident, or return None if one is open."""
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
            )
            .on_conflict_do_nothing()
            .returning(IncidentRow)
        )
        return _stored(row)

    async def update_cause(
        self, integration_id: UUID, *, error_code: ErrorCode | None, error_message: str | None
    ) -> None:
        """The outage goes on, for another reason."""
        await self._session.execute(
            update(IncidentRow)
            .where(IncidentRow.integration_id == integration_id, IncidentRow.resolved_at.is_(None))
            .values(
                error_code=error_code, error_message=error_message, updated_at=datetime.now(UTC)
            )
            .execution_options(synchronize_session=False)
        )

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

    async def find_open(self, integration_id: UUID) -> StoredIncident | None:
        row = await self._session.scalar(
            select(IncidentRow).where(
                IncidentRow.integration_id == integration_id, IncidentRow.resolved_at.is_(None)
            )
        )
        return _stored(row)


def _stored(row: IncidentRow | None) -> StoredIncident | None:
    if row is None:
        return None
    return StoredIncident(
        id=row.id,
        since=row.since,
        opened_at=row.opened_at,
        resolved_at=row.resolved_at,
        error_code=None if row.error_code is None else ErrorCode(row.error_code),
        error_message=row.error_message,
    )
