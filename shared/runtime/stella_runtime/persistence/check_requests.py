"""Table `check_requests`: checks that somebody asked for and that have not finished."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.health import CheckTrigger, ExpiredCheck, PendingCheck
from stella_runtime.ids import new_id
from stella_runtime.persistence.base import Base, MomentColumn, TenantOwned

QUEUE_ALLOWANCE = timedelta(seconds=60)
"""How long, beyond the check itself, a request may wait for a worker."""


class CheckRequestRow(TenantOwned, Base):
    __tablename__ = "check_requests"

    check_id: Mapped[UUID] = mapped_column(primary_key=True)
    integration_id: Mapped[UUID]
    trigger: Mapped[str]
    requested_by: Mapped[str]
    requested_at: Mapped[datetime] = mapped_column(MomentColumn)
    expires_at: Mapped[datetime] = mapped_column(MomentColumn)


# A request that expired makes way for a new one: a lost message must not block for ever.
_JOIN_OR_ADD = text(
    """
    insert into check_requests
        (check_id, tenant_id, integration_id, trigger, requested_by, expires_at)
    values (:check_id, :tenant_id, :integration_id, :trigger, :requested_by,
        now() + cast(:lifetime as interval))
    on conflict (integration_id) do update set
        check_id = excluded.check_id, trigger = excluded.trigger,
        requested_by = excluded.requested_by, requested_at = now(),
        expires_at = excluded.expires_at
    where check_requests.expires_at < now()
    returning check_id
    """
)


@dataclass(frozen=True, slots=True)
class Requested:
    """The check that will run, and whether this request started it."""

    check_id: UUID
    started: bool


class CheckRequests:
    """The requests of the session's tenant: at most one in flight for each integration."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def join_or_add(
        self, integration_id: UUID, *, requested_by: str, timeout_seconds: int
    ) -> Requested:
        """Join the check that is in flight, or start one. The caller holds the schedule's row."""
        added = await self._session.scalar(
            _JOIN_OR_ADD,
            {
                "check_id": new_id(),
                "tenant_id": self._tenant_id,
                "integration_id": integration_id,
                "trigger": CheckTrigger.ON_DEMAND,
                "requested_by": requested_by,
                "lifetime": timedelta(seconds=timeout_seconds) + QUEUE_ALLOWANCE,
            },
        )
        if added is not None:
            return Requested(check_id=added, started=True)
        in_flight = await self._session.scalar(
            select(CheckRequestRow.check_id).where(CheckRequestRow.integration_id == integration_id)
        )
        if in_flight is None:
            # It finished between the two statements.
            return await self.join_or_add(
                integration_id, requested_by=requested_by, timeout_seconds=timeout_seconds
            )
        return Requested(check_id=in_flight, started=False)

    async def find(
        self, integration_id: UUID, check_id: UUID, *, now: datetime
    ) -> PendingCheck | ExpiredCheck | None:
        """A request that has not finished, or None."""
        row = await self._session.scalar(
            select(CheckRequestRow).where(
                CheckRequestRow.check_id == check_id,
                CheckRequestRow.integration_id == integration_id,
            )
        )
        if row is None:
            return None
        state = ExpiredCheck if row.expires_at < now else PendingCheck
        return state(
            check_id=row.check_id,
            integration_id=row.integration_id,
            trigger=CheckTrigger(row.trigger),
            requested_at=row.requested_at,
        )
