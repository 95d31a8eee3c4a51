"""The partitions of the history: made ahead, filled from the default partition, dropped by age."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

LOCK_WAIT = "250ms"
"""
Checks that are being stored wait behind us while we wait for a lock: so long and no longer.
What cannot be locked within it is done in a later round.
"""
MOVED_AT_ONCE = 100_000
"""Rows that may be moved out of the default partition while others are stored there: a second."""
RANGES_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class PartitionedTable:
    """A table whose rows are kept by age. `key` is the column of their time."""

    name: str
    key: str
    unit: Literal["day", "month"]
    ahead: int

    @property
    def default(self) -> str:
        """The partition for what finds no other."""
        return f"{self.name}_default"

    def begin(self, moment: datetime) -> datetime:
        """When the range began that a moment belongs to."""
        day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return day if self.unit == "day" else day.replace(day=1)

    def end(self, begin: datetime) -> datetime:
        """When the range ends that begins then."""
        return self.begin(begin + timedelta(days=1 if self.unit == "day" else 32))

    def partition(self, begin: datetime) -> str:
        return f"{self.name}_{begin:{'%Y%m%d' if self.unit == 'day' else '%Y%m'}}"


CHECKS = PartitionedTable("health_checks", "checked_at", "day", ahead=7)
HOURS = PartitionedTable("hourly_rollups", "starting_at", "month", ahead=2)
DAYS = PartitionedTable("daily_rollups", "starting_at", "month", ahead=2)
TRANSITIONS = PartitionedTable("status_transitions", "at", "month", ahead=2)
PARTITIONED = (CHECKS, HOURS, DAYS, TRANSITIONS)


@dataclass(frozen=True, slots=True)
class Partition:
    """A range that exists; `begin` and `end` are its bounds."""

    name: str
    begin: datetime
    end: datetime


_TURN = text("select pg_try_advisory_xact_lock(hashtext('stella.history'))")
_LOCK_WAIT = text("select set_config('lock_timeout', :wait, true)")
_NOW = text("select now()")
_PARTITIONS = text(
    r"""
    select relname as name, cast(bounds[1] as timestamptz) as begin,
        cast(bounds[2] as timestamptz) as end
    from (
        select c.relname, regexp_match(pg_get_expr(c.relpartbound, c.oid),
            'FROM \(''(.+)''\) TO \(''(.+)''\)') as bounds
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = to_regclass(:table)) as listed
    where bounds is not null order by 2
    """
)
_LOCK = text("select lock_history(to_regclass(:table))")
_ADD = text("select add_history_partition(:parent, :key, :name, :begin, :end)")
_DROP = text("select drop_history_partition(:name)")
_MAY_DROP = text(
    """
    select rolled_until >= :end and (:is_raw or raw_since >= :end) and not exists (
        select 1 from late_checks l
        where l.starting_at >= greatest(:begin, p.raw_since) and l.starting_at < :end)
    from history_progress p
    """
)
_RAW_IS_GONE = text("update history_progress set raw_since = greatest(raw_since, :end)")


class HistoryPartitions:
    """
    Each step is a transaction of its own, which begins with `begin_step`.

    A partition is dropped, not deleted from, and not detached first: detaching concurrently is
    refused by a table with a default partition, and by a transaction; detaching otherwise takes
    the same lock as dropping.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def begin_step(self) -> bool:
        """Whether it is our turn: of several schedulers, one works on the history at a time."""
        await self._session.execute(_LOCK_WAIT, {"wait": LOCK_WAIT})
        return bool(await self._session.scalar(_TURN))

    async def now(self) -> datetime:
        """By the database's clock."""
        found: datetime | None = await self._session.scalar(_NOW)
        return found or datetime.now(UTC)

    async def list_existing(self, table: PartitionedTable) -> Sequence[Partition]:
        """All but the default one, oldest first."""
        rows = await self._session.execute(_PARTITIONS, {"table": table.name})
        return [Partition(row.name, row.begin, row.end) for row in rows]

    async def list_missing(self, table: PartitionedTable, now: datetime) -> Sequence[datetime]:
        """
        Where the ranges begin that should exist: from now on ahead, then those of stray rows.

        Strays are what the default partition holds. Those of a range that has expired get a
        partition, too, with which they are dropped.
        """
        begins = [table.begin(now)]
        for _ in range(table.ahead):
            begins.append(table.end(begins[-1]))
        strays = await self._session.scalars(
            text(
                f"select distinct date_trunc(:unit, {table.key}, 'UTC') from {table.default}"
                f" where {table.key} < :horizon order by 1 limit {RANGES_AT_ONCE}"
            ),
            {"unit": table.unit, "horizon": begins[-1]},
        )
        existing = {each.begin for each in await self.list_existing(table)}
        return [each for each in dict.fromkeys([*begins, *strays]) if each not in existing]

    async def is_in_use(self, table: PartitionedTable, begin: datetime, now: datetime) -> bool:
        """Whether so much of a range is stored now that moving it would keep others waiting."""
        if table.end(begin) <= now:
            return False
        held = await self._session.scalar(
            text(
                f"select count(*) from (select 1 from {table.default}"
                f" where {table.key} >= :begin and {table.key} < :end limit :limit) as held"
            ),
            {"begin": begin, "end": table.end(begin), "limit": MOVED_AT_ONCE + 1},
        )
        return int(held or 0) > MOVED_AT_ONCE

    async def add(self, table: PartitionedTable, begin: datetime) -> int:
        """Make a partition, and say how many rows moved into it from the default one."""
        moved = await self._session.scalar(
            _ADD,
            {
                "parent": table.name,
                "key": table.key,
                "name": table.partition(begin),
                "begin": begin,
                "end": table.end(begin),
            },
        )
        return int(moved or 0)

    async def drop(self, table: PartitionedTable, partition: Partition) -> bool:
        """Drop a partition, unless something of it is still to be rolled up."""
        # The lock that dropping takes anyway; with it, no late check can come after the look.
        await self._session.execute(_LOCK, {"table": table.name})
        if table in (CHECKS, HOURS):
            bounds = {"begin": partition.begin, "end": partition.end}
            may = await self._session.scalar(_MAY_DROP, {**bounds, "is_raw": table is CHECKS})
            if not may:
                return False
        if table is CHECKS:
            await self._session.execute(_RAW_IS_GONE, {"end": partition.end})
        await self._session.execute(_DROP, {"name": partition.name})
        return True

    async def count_strays(self, table: PartitionedTable, limit: int) -> int:
        """How many rows the default partition holds, counted up to a limit."""
        found = await self._session.scalar(
            text(f"select count(*) from (select 1 from {table.default} limit :limit) as held"),
            {"limit": limit},
        )
        return int(found or 0)
