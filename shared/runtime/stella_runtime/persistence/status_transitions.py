"""Table `status_transitions`: every change of an integration's status, one partition a month."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.health import ErrorCode, IntegrationStatus, Transition
from stella_runtime.ids import new_id
from stella_runtime.persistence.base import Base, MomentColumn, TenantOwned
from stella_runtime.persistence.health_checks import Span


class StatusTransitionRow(TenantOwned, Base):
    __tablename__ = "status_transitions"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    integration_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(MomentColumn, primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    from_status: Mapped[str]
    to_status: Mapped[str]
    error_code: Mapped[str | None]
    incident_id: Mapped[UUID | None]


@dataclass(frozen=True, slots=True)
class NewTransition:
    """A change of status, to be stored in the transaction that makes it."""

    tenant_id: str
    integration_id: UUID
    at: datetime
    previous_status: IntegrationStatus
    status: IntegrationStatus
    error_code: ErrorCode | None = None
    incident_id: UUID | None = None


class StatusTransitions:
    """Who had which status when, and why it changed."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, transitions: Sequence[NewTransition]) -> None:
        """Store changes. Of none, nothing is asked of the database."""
        if not transitions:
            return
        rows = [
            {
                "id": new_id(),
                "tenant_id": each.tenant_id,
                "integration_id": each.integration_id,
                "at": each.at,
                "from_status": each.previous_status,
                "to_status": each.status,
                "error_code": each.error_code,
                "incident_id": each.incident_id,
            }
            for each in transitions
        ]
        await self._session.execute(insert(StatusTransitionRow), rows)

    async def list_page(
        self, integration_id: UUID, span: Span, *, limit: int, before: tuple[datetime, UUID] | None
    ) -> Sequence[tuple[UUID, Transition]]:
        """At most `limit` changes that are older than a place, newest first, with their ids."""
        at, identifier = StatusTransitionRow.at, StatusTransitionRow.id
        query = select(StatusTransitionRow).where(
            StatusTransitionRow.integration_id == integration_id
        )
        if span.since is not None:
            query = query.where(at >= span.since)
        if span.until is not None:
            query = query.where(at < span.until)
        if before is not None:
            query = query.where(tuple_(at, identifier) < before)
        rows = await self._session.scalars(
            query.order_by(at.desc(), identifier.desc()).limit(limit)
        )
        return [(row.id, _transition(row)) for row in rows]


def _transition(row: StatusTransitionRow) -> Transition:
    return Transition(
        at=row.at,
        previous_status=IntegrationStatus(row.from_status),
        status=IntegrationStatus(row.to_status),
        error_code=None if row.error_code is None else ErrorCode(row.error_code),
        incident_id=row.incident_id,
    )
