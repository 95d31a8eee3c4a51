"""Table `hub_conditions`: what is wrong with the hub itself, as each worker sees it."""

from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_runtime.persistence.base import Base, MomentColumn


class HubConditionRow(Base):
    __tablename__ = "hub_conditions"

    condition: Mapped[str] = mapped_column(primary_key=True)
    worker: Mapped[str] = mapped_column(primary_key=True)
    detail: Mapped[str]
    since: Mapped[datetime] = mapped_column(MomentColumn)
    seen_at: Mapped[datetime] = mapped_column(MomentColumn)


# Held until the commit: of two workers, one is the first that sees it, and one the last.
_LOCK = text("select pg_advisory_xact_lock(hashtextextended('stella.hub.' || :condition, 0))")
_COUNT = text("select count(*), min(since) from hub_conditions where condition = :condition")
_SEE = text(
    """
    insert into hub_conditions (condition, worker, detail) values (:condition, :worker, :detail)
    on conflict (condition, worker) do update set seen_at = now(), detail = excluded.detail
    """
)
_FORGET = text(
    """
    delete from hub_conditions where condition = :condition
      and (worker = :worker or seen_at < now() - cast(:age as interval))
    """
)
_STALE = text(
    "select distinct condition from hub_conditions where seen_at < now() - cast(:age as interval)"
)

SEEN_AGE = timedelta(minutes=2)
"""A worker that says no more that it is so is taken to be gone."""


class HubConditions:
    """Says of a condition whether it has just begun, or ended, for the hub as a whole."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def see(self, condition: str, worker: str, detail: str) -> bool:
        """A worker sees a condition, still or newly. True for the first worker."""
        await self._session.execute(_LOCK, {"condition": condition})
        count, _ = (await self._session.execute(_COUNT, {"condition": condition})).one()
        values = {"condition": condition, "worker": worker, "detail": detail[:500]}
        await self._session.execute(_SEE, values)
        return bool(count == 0)

    async def forget(self, condition: str, worker: str) -> datetime | None:
        """A worker sees it no more. For the last one: since when it was so."""
        await self._session.execute(_LOCK, {"condition": condition})
        before, since = (await self._session.execute(_COUNT, {"condition": condition})).one()
        values = {"condition": condition, "worker": worker, "age": SEEN_AGE}
        await self._session.execute(_FORGET, values)
        after, _ = (await self._session.execute(_COUNT, {"condition": condition})).one()
        ended: datetime | None = since if before and not after else None
        return ended

    async def list_stale(self) -> list[str]:
        """Conditions of which a worker says nothing any more."""
        rows = await self._session.execute(_STALE, {"age": SEEN_AGE})
        return [row[0] for row in rows]
