"""What the scheduler does for the history: partitions ahead, roll-ups, and an end to the old."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import structlog

from stella_contracts.errors import Unavailable
from stella_health_worker.settings import HealthWorkerSettings
from stella_runtime.persistence import Database, SystemTransaction, open_engine
from stella_runtime.persistence.history_partitions import (
    CHECKS,
    DAYS,
    HOURS,
    PARTITIONED,
    TRANSITIONS,
    Partition,
    PartitionedTable,
)
from stella_runtime.telemetry.metrics import HistoryState, Metrics

log = structlog.get_logger()

ROUND_SECONDS = 300.0
STATEMENT_SECONDS = 600.0
"""An hour of a million integrations is twelve million checks, which take their time to count."""
STRAYS_COUNTED = 100_000

ResultT = TypeVar("ResultT")
Kept = Mapping[PartitionedTable, timedelta]
"""For how long the rows of each table are kept."""


async def keep_history(settings: HealthWorkerSettings, metrics: Metrics) -> None:
    """
    Look after the history until cancelled.

    On a connection of its own, whose statements may take longer than those that others wait for.
    """
    database = Database(
        open_engine(
            settings.database_url.get_secret_value(),
            pool_size=1,
            application="stella-history",
            statement_timeout_seconds=STATEMENT_SECONDS,
        )
    )
    try:
        while True:
            await look_after(database, kept_by(settings), metrics)
            await asyncio.sleep(ROUND_SECONDS)
    finally:
        await database.close()


def kept_by(settings: HealthWorkerSettings) -> Kept:
    return {
        CHECKS: timedelta(days=settings.history_raw_days),
        HOURS: timedelta(days=settings.history_hourly_days),
        DAYS: timedelta(days=settings.history_daily_days),
        TRANSITIONS: timedelta(days=settings.history_transition_days),
    }


async def look_after(database: Database, kept: Kept, metrics: Metrics) -> None:
    """
    One round. Safe in any number of schedulers at once: they take turns, step by step.

    A step that cannot be done now, since a lock is held, is done in a later round.
    """
    for table in PARTITIONED:
        await _add_partitions(database, table)
    await roll_up(database)
    for table in PARTITIONED:
        await _drop_partitions(database, table, kept[table])
    await _measure(database, metrics)


async def roll_up(database: Database) -> None:
    """Roll up every hour that is due, and again those that late checks belong to."""
    while await _step(database, "roll_up", lambda each: each.rolling_up.roll_up_next()):
        pass
    while await _step(database, "roll_up_late", lambda each: each.rolling_up.roll_up_late()):
        pass


async def _add_partitions(database: Database, table: PartitionedTable) -> None:
    for begin in await _step(database, "list_missing", partial(_missing, table)) or ():
        moved = await _step(database, "add_partition", partial(_add, table, begin))
        if moved:
            log.warning("history_rows_moved", partition=table.partition(begin), rows=moved)


async def _missing(table: PartitionedTable, transaction: SystemTransaction) -> Sequence[datetime]:
    now = await transaction.partitions.now()
    return await transaction.partitions.list_missing(table, now)


async def _add(table: PartitionedTable, begin: datetime, transaction: SystemTransaction) -> int:
    now = await transaction.partitions.now()
    if await transaction.partitions.is_in_use(table, begin, now):
        log.warning("history_partition_waits", table=table.name, until=table.end(begin))
        return 0
    return await transaction.partitions.add(table, begin)


async def _drop_partitions(database: Database, table: PartitionedTable, age: timedelta) -> None:
    for partition in await _step(database, "list_expired", partial(_expired, table, age)) or ():
        if await _step(database, "drop_partition", partial(_drop, table, partition)):
            log.info("history_partition_dropped", partition=partition.name)


async def _expired(
    table: PartitionedTable, age: timedelta, transaction: SystemTransaction
) -> Sequence[Partition]:
    before = await transaction.partitions.now() - age
    existing = await transaction.partitions.list_existing(table)
    return [partition for partition in existing if partition.end <= before]


async def _drop(
    table: PartitionedTable, partition: Partition, transaction: SystemTransaction
) -> bool:
    return await transaction.partitions.drop(table, partition)


async def _measure(database: Database, metrics: Metrics) -> None:
    found = await _step(database, "measure", _look)
    if found is not None:
        metrics.history(found)
        if found.default_rows or found.days_ahead < 0:
            log.warning(
                "history_partition_missing",
                default_rows=found.default_rows,
                days_ahead=found.days_ahead,
            )


async def _look(transaction: SystemTransaction) -> HistoryState:
    existing = await transaction.partitions.list_existing(CHECKS)
    progress = await transaction.rolling_up.progress()
    return HistoryState(
        default_rows=await transaction.partitions.count_strays(CHECKS, STRAYS_COUNTED),
        days_ahead=_days_ahead({each.begin for each in existing}, progress.now),
        rollup_lag_seconds=(progress.now - progress.rolled_until).total_seconds(),
    )


def _days_ahead(begins: set[datetime], now: datetime) -> int:
    """How many days have a partition without a gap, today not counted; -1 if today has none."""
    ahead, day = -1, CHECKS.begin(now)
    while day in begins:
        ahead, day = ahead + 1, CHECKS.end(day)
    return ahead


async def _step(
    database: Database, name: str, work: Callable[[SystemTransaction], Awaitable[ResultT]]
) -> ResultT | None:
    """Work in a transaction, if it is our turn. What is not possible now is logged, and waits."""
    try:
        async with database.system_transaction() as transaction:
            if await transaction.partitions.begin_step():
                return await work(transaction)
    except Unavailable as error:
        log.warning("history_step_postponed", step=name, reason=str(error))
    return None
