"""Tables `hourly_rollups` and `daily_rollups`: what the checks found, long after they are gone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import BigInteger, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.health import Rollup
from stella_runtime.persistence.base import Base, MomentColumn, TenantOwned
from stella_runtime.persistence.health_checks import Span


class _Counts(TenantOwned):
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    integration_id: Mapped[UUID] = mapped_column(primary_key=True)
    starting_at: Mapped[datetime] = mapped_column(MomentColumn, primary_key=True)
    healthy: Mapped[int]
    degraded: Mapped[int]
    unhealthy: Mapped[int]
    unknown: Mapped[int]
    latency_ms_total: Mapped[int] = mapped_column(BigInteger)
    latency_ms_max: Mapped[int]


class HourlyRollupRow(_Counts, Base):
    __tablename__ = "hourly_rollups"


class DailyRollupRow(_Counts, Base):
    __tablename__ = "daily_rollups"


class LateCheckRow(TenantOwned, Base):
    """An hour that has to be rolled up again, since a check of it came late."""

    __tablename__ = "late_checks"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    integration_id: Mapped[UUID] = mapped_column(primary_key=True)
    starting_at: Mapped[datetime] = mapped_column(MomentColumn, primary_key=True)


class HistoryProgressRow(Base):
    __tablename__ = "history_progress"

    id: Mapped[bool] = mapped_column(primary_key=True)
    rolled_until: Mapped[datetime] = mapped_column(
        MomentColumn, comment="Hours that begin before it are rolled up."
    )
    raw_since: Mapped[datetime] = mapped_column(
        MomentColumn,
        comment="Checks from it on are all there; of the days before it, partitions have been"
        " dropped.",
    )


# One statement, so that what is rolled up and what is not are of one snapshot: nothing is missed
# and nothing counted twice. An hour is read from the checks if it is not rolled up yet, or if a
# check of it came late; else from its roll-up.
COUNTS = """
        count(*) filter (where h.status = 'healthy') as healthy,
        count(*) filter (where h.status = 'degraded') as degraded,
        count(*) filter (where h.status = 'unhealthy') as unhealthy,
        count(*) filter (where h.status = 'unknown') as unknown,
        sum(h.latency_ms) as latency_ms_total, max(h.latency_ms) as latency_ms_max
"""
STORED = "starting_at, healthy, degraded, unhealthy, unknown, latency_ms_total, latency_ms_max"
_HOURS = f"""
    bounds as (
        select rolled_until, raw_since,
            coalesce(cast(:since as timestamptz), '-infinity') as since,
            coalesce(cast(:until as timestamptz), 'infinity') as until
        from history_progress),
    late as (
        select l.starting_at from late_checks l, bounds b
        where l.tenant_id = :tenant_id and l.integration_id = :integration_id
          and l.starting_at >= b.raw_since and l.starting_at < b.rolled_until),
    fresh as (
        select date_trunc('hour', h.checked_at, 'UTC') as starting_at, {COUNTS}
        from health_checks h
        where h.tenant_id = :tenant_id and h.integration_id = :integration_id
          and h.checked_at >= (select greatest(rolled_until, since) from bounds)
          and h.checked_at < (select until from bounds)
        group by 1
        union all
        select late.starting_at, {COUNTS}
        from late join health_checks h
            on h.tenant_id = :tenant_id and h.integration_id = :integration_id
            and h.checked_at >= late.starting_at
            and h.checked_at < late.starting_at + interval '1 hour'
        where late.starting_at >= (select since from bounds)
          and late.starting_at < (select until from bounds)
        group by 1)
"""
_ANSWER = """
    select starting_at, healthy + degraded + unhealthy + unknown as checks,
        healthy, degraded, unhealthy, unknown,
        cast(latency_ms_total as double precision)
            / (healthy + degraded + unhealthy + unknown) as average_latency_ms,
        latency_ms_max as max_latency_ms
"""
_LIST_HOURS = text(
    f"""
    with {_HOURS}
    {_ANSWER} from (
        (select {STORED} from hourly_rollups r
         where r.tenant_id = :tenant_id and r.integration_id = :integration_id
           and r.starting_at >= (select since from bounds)
           and r.starting_at < (select least(until, rolled_until) from bounds)
           and not exists (select 1 from late where late.starting_at = r.starting_at)
         order by r.starting_at desc limit :limit)
        union all select {STORED} from fresh) as hours
    order by starting_at desc limit :limit
    """
)
# A day is read from its roll-up if all of its hours are rolled up, else from its hours.
_LIST_DAYS = text(
    f"""
    with {_HOURS},
    unfinished as (
        select date_trunc('day', starting_at, 'UTC') as starting_at from late
        union select date_trunc('day', rolled_until, 'UTC') from bounds),
    hours as (
        select r.starting_at, healthy, degraded, unhealthy, unknown, latency_ms_total,
            latency_ms_max
        from unfinished u join hourly_rollups r
            on r.tenant_id = :tenant_id and r.integration_id = :integration_id
            and r.starting_at >= u.starting_at
            and r.starting_at < u.starting_at + interval '1 day'
        where r.starting_at >= (select since from bounds)
          and r.starting_at < (select least(until, rolled_until) from bounds)
          and not exists (select 1 from late where late.starting_at = r.starting_at)
        union all select {STORED} from fresh)
    {_ANSWER} from (
        (select {STORED} from daily_rollups r
         where r.tenant_id = :tenant_id and r.integration_id = :integration_id
           and r.starting_at >= (select since from bounds)
           and r.starting_at
               < (select least(until, date_trunc('day', rolled_until, 'UTC')) from bounds)
           and not exists (select 1 from unfinished u where u.starting_at = r.starting_at)
         order by r.starting_at desc limit :limit)
        union all
        select date_trunc('day', starting_at, 'UTC') as starting_at, sum(healthy), sum(degraded),
            sum(unhealthy), sum(unknown), sum(latency_ms_total), max(latency_ms_max)
        from hours group by 1) as days
    order by starting_at desc limit :limit
    """
)
_STATEMENT = {"hour": _LIST_HOURS, "day": _LIST_DAYS}
_LAST_MOMENT = datetime(9999, 1, 1, tzinfo=UTC)
"""Python has no next day to its last one."""
_LENGTH = {"hour": timedelta(hours=1), "day": timedelta(days=1)}


class Rollups:
    """What the checks of each hour or day found, of the session's tenant."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def list_page(
        self,
        integration_id: UUID,
        span: Span,
        *,
        unit: Literal["hour", "day"],
        limit: int,
        before: datetime | None,
    ) -> Sequence[Rollup]:
        """
        The hours or (UTC) days that have checks, newest first, older than `before`.

        A span counts in whole periods: those that it touches.
        """
        until = span.until
        if until is not None and until > _LAST_MOMENT:
            until = None
        if until is not None and _begin(until, unit) != until:
            until = _begin(until, unit) + _LENGTH[unit]
        if before is not None:
            until = before if until is None else min(until, before)
        rows = await self._session.execute(
            _STATEMENT[unit],
            {
                "tenant_id": self._tenant_id,
                "integration_id": integration_id,
                "since": span.since and _begin(span.since, unit),
                "until": until,
                "limit": limit,
            },
        )
        return [Rollup.model_validate(row) for row in rows]


def _begin(moment: datetime, unit: Literal["hour", "day"]) -> datetime:
    """When the period began that a moment belongs to."""
    begin = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return begin if unit == "hour" else begin.replace(hour=0)
