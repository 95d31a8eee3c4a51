"""Table `mutes`: what no alerts are sent of, and until when. Times are the database's."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.mutes import Mute, MuteCreate
from stella_runtime.ids import new_id
from stella_runtime.persistence.base import Base, MomentColumn, TenantOwned


class MuteRow(TenantOwned, Base):
    __tablename__ = "mutes"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    integration_id: Mapped[UUID | None]
    type: Mapped[str | None]
    tag: Mapped[str | None]
    reason: Mapped[str]
    starts_at: Mapped[datetime] = mapped_column(MomentColumn)
    ends_at: Mapped[datetime] = mapped_column(MomentColumn)
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(MomentColumn)


class Mutes:
    """The mutes of the session's tenant."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def add(
        self, new: MuteCreate, *, starts_at: datetime, created_by: str, created_at: datetime
    ) -> Mute:
        row = MuteRow(
            id=new_id(),
            tenant_id=self._tenant_id,
            integration_id=new.integration_id,
            type=new.type,
            tag=new.tag,
            reason=new.reason,
            starts_at=starts_at,
            ends_at=new.ends_at,
            created_by=created_by,
            created_at=created_at,
        )
        self._session.add(row)
        await self._session.flush()
        return Mute.model_validate(row)

    async def list_page(self, *, limit: int, before: UUID | None) -> Sequence[Mute]:
        """At most `limit` that have not ended, the newest first."""
        query = select(MuteRow).where(MuteRow.ends_at > func.now())
        if before is not None:
            query = query.where(MuteRow.id < before)
        rows = await self._session.scalars(query.order_by(MuteRow.id.desc()).limit(limit))
        return [Mute.model_validate(row) for row in rows]

    async def delete(self, mute_id: UUID) -> Mute | None:
        """End a mute, or one that was to come. None if there is none."""
        row = await self._session.scalar(
            delete(MuteRow)
            .where(MuteRow.id == mute_id)
            .returning(MuteRow)
            .execution_options(synchronize_session=False)
        )
        return None if row is None else Mute.model_validate(row)

    async def find_end(
        self, integration_id: UUID, *, provider_type: str, tags: Sequence[str]
    ) -> datetime | None:
        """Until when an integration is muted now, or None if it is not."""
        return await self._session.scalar(
            select(func.max(MuteRow.ends_at)).where(
                MuteRow.starts_at <= func.now(),
                MuteRow.ends_at > func.now(),
                or_(MuteRow.integration_id.is_(None), MuteRow.integration_id == integration_id),
                or_(MuteRow.type.is_(None), MuteRow.type == provider_type),
                or_(MuteRow.tag.is_(None), MuteRow.tag.in_(tags)),
            )
        )
