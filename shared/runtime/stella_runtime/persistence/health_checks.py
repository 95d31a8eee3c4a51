"""Table `health_checks`: the history, one partition a day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.health import FinishedCheck
from stella_runtime.ids import moment_of
from stella_runtime.persistence.base import Base, JsonColumn, MomentColumn, TenantOwned

LONGEST_CHECK = timedelta(days=1)
"""A check's id is made when it is asked for. It finishes within this time, or never."""


class HealthCheckRow(TenantOwned, Base):
    __tablename__ = "health_checks"

    checked_at: Mapped[datetime] = mapped_column(MomentColumn, primary_key=True)
    check_id: Mapped[UUID] = mapped_column(primary_key=True)
    integration_id: Mapped[UUID]
    status: Mapped[str]
    latency_ms: Mapped[int]
    error_message: Mapped[str | None]
    error_code: Mapped[str | None]
    trigger: Mapped[str]
    steps: Mapped[list[dict[str, object]]] = mapped_column(JsonColumn)
    worker: Mapped[str]
    integration_version: Mapped[int]


@dataclass(frozen=True, slots=True)
class Span:
    """From a moment on, and before another. None is open."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of history ends."""

    checked_at: datetime
    check_id: UUID


class HealthChecks:
    """The history of the session's tenant, newest first."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def find(self, integration_id: UUID, check_id: UUID) -> FinishedCheck | None:
        # The id holds the time of its making: without it every day's partition would be searched.
        made_at = moment_of(check_id)
        row = await self._session.scalar(
            select(HealthCheckRow).where(
                HealthCheckRow.integration_id == integration_id,
                HealthCheckRow.check_id == check_id,
                HealthCheckRow.checked_at >= made_at - timedelta(minutes=5),
                HealthCheckRow.checked_at < made_at + LONGEST_CHECK,
            )
        )
        return None if row is None else FinishedCheck.model_validate(row)

    async def list_page(
        self, integration_id: UUID, span: Span, *, limit: int, before: Place | None
    ) -> Sequence[FinishedCheck]:
        """At most `limit` checks that are older than a place."""
        query = select(HealthCheckRow).where(HealthCheckRow.integration_id == integration_id)
        if span.since is not None:
            query = query.where(HealthCheckRow.checked_at >= span.since)
        if span.until is not None:
            query = query.where(HealthCheckRow.checked_at < span.until)
        if before is not None:
            query = query.where(
                tuple_(HealthCheckRow.checked_at, HealthCheckRow.check_id)
                < (before.checked_at, before.check_id)
            )
        rows = await self._session.scalars(
            query.order_by(HealthCheckRow.checked_at.desc(), HealthCheckRow.check_id.desc()).limit(
                limit
            )
        )
        return [FinishedCheck.model_validate(row) for row in rows]
