"""From checks to hourly roll-ups, and from those to daily ones: what the upkeep does."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stella_runtime.persistence.rollups import COUNTS, STORED

SETTLED_AFTER = timedelta(minutes=30)
"""
How long after its end an hour is rolled up. A check that is stored more than fifteen minutes late
marks its hour (`late_checks`), so nothing is missed unless a transaction is open for as long again
after it stored a check; the limits of `connect` end one much sooner.
"""
LATE_AT_ONCE = 1000
HOUR = timedelta(hours=1)

_UPSERT = f"""
    on conflict (tenant_id, integration_id, starting_at) do update set
    {", ".join(f"{name} = excluded.{name}" for name in STORED.split(", ")[1:])}
"""
_PROGRESS = text("select rolled_until, now() as now from history_progress")
_ROLL_HOUR = text(
    f"""
    insert into hourly_rollups (tenant_id, integration_id, {STORED})
    select h.tenant_id, h.integration_id, cast(:begin as timestamptz) as starting_at, {COUNTS}
    from health_checks h where h.checked_at >= :begin and h.checked_at < :end
    group by h.tenant_id, h.integration_id
    {_UPSERT}
    """
)
_SUMS = """
    sum(r.healthy), sum(r.degraded), sum(r.unhealthy), sum(r.unknown), sum(r.latency_ms_total),
    max(r.latency_ms_max)
"""
_ROLL_DAY = text(
    f"""
    insert into daily_rollups (tenant_id, integration_id, {STORED})
    select r.tenant_id, r.integration_id, cast(:begin as timestamptz) as starting_at, {_SUMS}
    from hourly_rollups r where r.starting_at >= :begin and r.starting_at < :end
    group by r.tenant_id, r.integration_id
    {_UPSERT}
    """
)
_ADVANCE = text("update history_progress set rolled_until = :until")
# Locked by a statement of its own: the next one sees every check that the marks stand for, and a
# check that comes meanwhile waits, and marks the hour anew.
_LOCK_LATE = text(
    """
    select tenant_id, integration_id, starting_at from late_checks
    order by tenant_id, integration_id, starting_at limit :limit for update skip locked
    """
)
_MARKS = """unnest(cast(:tenants as text[]), cast(:integrations as uuid[]),
        cast(:hours as timestamptz[])) as m (tenant_id, integration_id, starting_at)"""
_ROLL_LATE_HOURS = text(
    f"""
    insert into hourly_rollups (tenant_id, integration_id, {STORED})
    select m.tenant_id, m.integration_id, m.starting_at, {COUNTS}
    from {_MARKS}
    join history_progress p on m.starting_at >= p.raw_since and m.starting_at < p.rolled_until
    join health_checks h on h.tenant_id = m.tenant_id and h.integration_id = m.integration_id
        and h.checked_at >= m.starting_at and h.checked_at < m.starting_at + interval '1 hour'
    group by m.tenant_id, m.integration_id, m.starting_at
    {_UPSERT}
    """
)
_ROLL_LATE_DAYS = text(
    f"""
    insert into daily_rollups (tenant_id, integration_id, {STORED})
    select d.tenant_id, d.integration_id, d.starting_at, {_SUMS}
    from (select distinct m.tenant_id, m.integration_id,
              date_trunc('day', m.starting_at, 'UTC') as starting_at
          from {_MARKS}
          join history_progress p on m.starting_at >= p.raw_since) as d
    join history_progress p on d.starting_at < date_trunc('day', p.rolled_until, 'UTC')
    join hourly_rollups r on r.tenant_id = d.tenant_id and r.integration_id = d.integration_id
        and r.starting_at >= d.starting_at and r.starting_at < d.starting_at + interval '1 day'
    group by d.tenant_id, d.integration_id, d.starting_at
    {_UPSERT}
    """
)
_FORGET_LATE = text(
    f"""
    delete from late_checks l using {_MARKS}
    where l.tenant_id = m.tenant_id and l.integration_id = m.integration_id
      and l.starting_at = m.starting_at
    """
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the hours are rolled up, and the database's time."""

    rolled_until: datetime
    now: datetime

    @property
    def is_due(self) -> bool:
        """Whether the next hour is over, and what it found is settled."""
        return self.rolled_until + HOUR + SETTLED_AFTER <= self.now


class RollingUp:
    """Each step is a transaction, in the turn of `HistoryPartitions.begin_step`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def progress(self) -> Progress:
        row = (await self._session.execute(_PROGRESS)).one()
        return Progress(rolled_until=row.rolled_until, now=row.now)

    async def roll_up_next(self) -> bool:
        """
        Roll up the hour that is next, if it is due, and with its last hour the day.

        The hour's roll-ups and the progress are committed together; doing it again gives the same.
        """
        progress = await self.progress()
        if not progress.is_due:
            return False
        begin = progress.rolled_until.astimezone(UTC)
        end = begin + HOUR
        await self._session.execute(_ROLL_HOUR, {"begin": begin, "end": end})
        if end.hour == 0:
            await self._session.execute(_ROLL_DAY, {"begin": end - timedelta(days=1), "end": end})
        await self._session.execute(_ADVANCE, {"until": end})
        return True

    async def roll_up_late(self) -> int:
        """Roll up again what late checks belong to, and say how many hours were marked."""
        marks = (await self._session.execute(_LOCK_LATE, {"limit": LATE_AT_ONCE})).all()
        if marks:
            values = _columns(marks)
            for statement in (_ROLL_LATE_HOURS, _ROLL_LATE_DAYS, _FORGET_LATE):
                await self._session.execute(statement, values)
        return len(marks)


def _columns(marks: Sequence[Any]) -> dict[str, Any]:
    return {
        "tenants": [mark.tenant_id for mark in marks],
        "integrations": [mark.integration_id for mark in marks],
        "hours": [mark.starting_at for mark in marks],
    }
