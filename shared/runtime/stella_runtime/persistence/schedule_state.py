"""Table `schedule_state`: when an integration is due, and how it has been."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import BigInteger, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.errors import IntegrationNotFound
from stella_contracts.health import FinishedCheck
from stella_runtime.persistence.base import (
    Base,
    JsonColumn,
    JsonObject,
    MomentColumn,
    TenantOwned,
)


class ScheduleStateRow(TenantOwned, Base):
    __tablename__ = "schedule_state"

    integration_id: Mapped[UUID] = mapped_column(primary_key=True)
    next_check_at: Mapped[datetime | None] = mapped_column(
        MomentColumn,
        comment="When it is due; while a check is leased, when the lease ends;"
        " null while disabled or deleted.",
    )
    slot_at: Mapped[datetime | None] = mapped_column(
        MomentColumn, comment="When the check that is leased now was due; null while none is."
    )
    lease_token: Mapped[int] = mapped_column(
        BigInteger, comment="Counts the leases. A result with an older token is not counted."
    )
    checks_done: Mapped[int] = mapped_column(BigInteger)
    missed_slots: Mapped[int] = mapped_column(
        BigInteger,
        server_default=text("0"),
        comment="Slots that passed without a check of their own.",
    )
    put_off_at: Mapped[datetime | None] = mapped_column(
        MomentColumn,
        comment="When it was found so late that it was put off, to spread what follows a downtime.",
    )
    period: Mapped[timedelta] = mapped_column(
        server_default=text("interval '300 s'"),
        comment="From slot to slot: kept in step with the interval in integrations.",
    )
    timeout: Mapped[timedelta] = mapped_column(
        server_default=text("interval '10 s'"),
        comment="Of one check: kept in step with the one in integrations.",
    )
    status_since: Mapped[datetime] = mapped_column(MomentColumn)
    consecutive_failures: Mapped[int]
    consecutive_successes: Mapped[int]
    failing_since: Mapped[datetime | None] = mapped_column(MomentColumn)
    last_check: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    last_healthy_at: Mapped[datetime | None] = mapped_column(MomentColumn)
    connection: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    result_changes: Mapped[int]
    status_changes: Mapped[int]
    flapping_since: Mapped[datetime | None] = mapped_column(MomentColumn)
    told_status: Mapped[str | None]


@dataclass(frozen=True, slots=True)
class HealthState:
    """How an integration has been, and when it is due."""

    since: datetime
    consecutive_failures: int
    consecutive_successes: int
    last_check: FinishedCheck | None
    last_healthy_at: datetime | None
    next_check_at: datetime | None
    flapping_since: datetime | None


class ScheduleState:
    """The schedule of the session's tenant. Times are the database's: clocks of hosts differ."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def add(self, integration_id: UUID, *, enabled: bool) -> None:
        """Make a new integration due at once, or never while it is disabled."""
        self._session.add(
            ScheduleStateRow(
                integration_id=integration_id,
                tenant_id=self._tenant_id,
                next_check_at=func.now() if enabled else None,
                lease_token=0,
                checks_done=0,
                status_since=func.now(),
                consecutive_failures=0,
                consecutive_successes=0,
                result_changes=0,
                status_changes=0,
            )
        )
        await self._session.flush()

    async def lock(self, integration_id: UUID) -> None:
        """
        Hold the row, and with it everything that a check would change.

        Taken before the catalog row, by changes and by results alike, so that they cannot
        wait for each other. Raises IntegrationNotFound.
        """
        found = await self._session.scalar(
            select(ScheduleStateRow.integration_id)
            .where(ScheduleStateRow.integration_id == integration_id)
            .with_for_update()
        )
        if found is None:
            raise IntegrationNotFound(integration_id)

    async def get(self, integration_id: UUID) -> HealthState:
        """Raises IntegrationNotFound."""
        row = await self._session.scalar(
            select(ScheduleStateRow).where(ScheduleStateRow.integration_id == integration_id)
        )
        if row is None:
            raise IntegrationNotFound(integration_id)
        return HealthState(
            since=row.status_since,
            consecutive_failures=row.consecutive_failures,
            consecutive_successes=row.consecutive_successes,
            last_check=(
                None if row.last_check is None else FinishedCheck.model_validate(row.last_check)
            ),
            last_healthy_at=row.last_healthy_at,
            next_check_at=row.next_check_at,
            flapping_since=row.flapping_since,
        )

    async def restart(self, integration_id: UUID) -> None:
        """Forget what was learnt of the former configuration, and check the new one at once."""
        await self._set(
            integration_id,
            next_check_at=func.now(),
            slot_at=None,
            checks_done=0,
            connection=None,
            consecutive_failures=0,
            consecutive_successes=0,
            failing_since=None,
        )

    async def make_due(self, integration_id: UUID) -> None:
        """Check at once, keeping what is known."""
        await self._set(integration_id, next_check_at=func.now(), slot_at=None)

    async def take_back(self, integration_id: UUID) -> None:
        """If a check is leased, lease it anew: what it finds will be of a former version."""
        await self._session.execute(
            update(ScheduleStateRow)
            .where(
                ScheduleStateRow.integration_id == integration_id,
                ScheduleStateRow.slot_at.is_not(None),
            )
            .values(next_check_at=func.now(), slot_at=None)
            .execution_options(synchronize_session=False)
        )

    async def pause(self, integration_id: UUID) -> None:
        """Check no more. What is not looked at does not flap."""
        await self._set(
            integration_id,
            next_check_at=None,
            slot_at=None,
            consecutive_failures=0,
            consecutive_successes=0,
            failing_since=None,
            result_changes=0,
            status_changes=0,
            flapping_since=None,
            told_status=None,
        )

    async def mark_changed(self, integration_id: UUID) -> None:
        """The status begins now."""
        await self._set(integration_id, status_since=func.now())

    async def _set(self, integration_id: UUID, **values: object) -> None:
        await self._session.execute(
            update(ScheduleStateRow)
            .where(ScheduleStateRow.integration_id == integration_id)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
