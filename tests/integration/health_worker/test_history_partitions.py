"""Partitions of the history: made ahead, found again by stray rows, dropped by age."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.support.catalog import TENANT, claim, outcome, register
from tests.support.history import KEPT, Stored, add_checks, gauges, one_round
from tests.support.postgres import BOTH_RELEASES

from stella_contracts.health import HealthResult
from stella_health_worker.history import look_after
from stella_health_worker.recording import record_outcomes
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database
from stella_runtime.persistence.health_checks import Span
from stella_runtime.persistence.history_partitions import (
    CHECKS,
    DAYS,
    HOURS,
    TRANSITIONS,
    PartitionedTable,
)
from stella_runtime.telemetry.metrics import Metrics

pytestmark = pytest.mark.parametrize("postgres_server", BOTH_RELEASES, indirect=True)

NOW = datetime.now(UTC)


def partitions(sql: psycopg.Connection[Any], table: PartitionedTable) -> set[str]:
    listed = sql.execute(
        "select inhrelid::regclass::text from pg_inherits where inhparent = %s::regclass",
        [table.name],
    )
    return {row[0] for row in listed.fetchall()} - {table.default}


def rows(sql: psycopg.Connection[Any], table: str) -> int:
    found = sql.execute(f"select count(*) from {table}").fetchone()
    assert found is not None
    return int(found[0])


def drop_all(sql: psycopg.Connection[Any], table: PartitionedTable) -> None:
    """Nobody made partitions in time."""
    for name in partitions(sql, table):
        sql.execute(f"drop table {name}")


def add_check(
    sql: psycopg.Connection[Any], at: datetime, *, integration_id: UUID | None = None
) -> None:
    add_checks(sql, Stored(at, integration_id or new_id()))


async def test_partitions_are_made_ahead(database: Database, sql: psycopg.Connection[Any]) -> None:
    drop_all(sql, CHECKS)

    found = await one_round(database)

    # Not NOW: the tests may have begun before midnight.
    today = datetime.now(UTC)
    days = {f"health_checks_{today + timedelta(days=ahead):%Y%m%d}" for ahead in range(8)}
    assert partitions(sql, CHECKS) == days
    assert {len(partitions(sql, table)) for table in (HOURS, DAYS, TRANSITIONS)} == {3}
    assert found["integration_history_days_ahead"] == 7
    assert found["integration_history_default_rows"] == 0


async def test_without_a_partition_checks_are_stored_and_a_gauge_says_so(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    drop_all(sql, CHECKS)
    integration = await register(database)
    [target] = await claim(database)
    async with database.system_transaction() as transaction:
        await record_outcomes(transaction, [outcome(target, HealthResult.healthy())], Metrics())
    metrics = Metrics()

    # The round cannot lock the table, and so only measures.
    with sql.transaction():
        sql.execute("lock table health_checks_default in row exclusive mode")
        await look_after(database, KEPT, metrics)

    assert gauges(metrics)["integration_history_default_rows"] == 1
    assert gauges(metrics)["integration_history_days_ahead"] == -1
    async with database.transaction(TENANT) as transaction:
        assert await transaction.health_checks.find(integration.id, target.check_id) is not None


async def test_rows_of_the_default_partition_move_to_the_days_they_belong_to(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    drop_all(sql, CHECKS)
    integration_id = new_id()
    moments = [NOW, NOW - timedelta(days=1), NOW - timedelta(days=9), NOW + timedelta(days=3)]
    for moment in moments:
        add_check(sql, moment, integration_id=integration_id)
    add_check(sql, NOW + timedelta(days=900))

    found = await one_round(database)

    assert [rows(sql, f"health_checks_{moment:%Y%m%d}") for moment in moments] == [1] * 4
    assert found["integration_history_days_ahead"] == 7
    # What lies beyond what is made ahead stays where it is, and in sight.
    assert rows(sql, "health_checks_default") == found["integration_history_default_rows"] == 1
    async with database.transaction(TENANT) as transaction:
        page = await transaction.health_checks.list_page(
            integration_id, Span(), limit=10, before=None
        )
    assert [check.checked_at for check in page] == sorted(moments, reverse=True)


async def test_a_partition_made_from_the_default_one_is_like_the_others(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    drop_all(sql, CHECKS)
    add_check(sql, NOW)
    await one_round(database)

    described = [
        sql.execute(
            "select indexdef from pg_indexes where tablename = %s order by 1", [table]
        ).fetchall()
        for table in (f"health_checks_{NOW:%Y%m%d}", "health_checks_default")
    ]

    assert len(described[0]) == len(described[1]) >= 2
    with pytest.raises(psycopg.errors.CheckViolation):
        sql.execute("update health_checks set status = 'odd'")


async def test_what_is_stored_meanwhile_is_not_waited_for_and_moves_later(
    database: Database, sql: psycopg.Connection[Any], database_url: str
) -> None:
    drop_all(sql, CHECKS)
    with psycopg.connect(database_url) as storing:
        add_check(storing, NOW)
        await one_round(database)
        during = partitions(sql, CHECKS)

    await one_round(database)

    assert f"health_checks_{NOW:%Y%m%d}" not in during
    assert rows(sql, f"health_checks_{NOW:%Y%m%d}") == 1


async def test_days_that_are_too_old_are_dropped_whole(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    drop_all(sql, CHECKS)
    moments = [NOW - timedelta(days=days) for days in (0, 29, 32, 400)]
    for moment in moments:
        add_check(sql, moment)

    await one_round(database)

    left = [f"health_checks_{moment:%Y%m%d}" in partitions(sql, CHECKS) for moment in moments]
    assert left == [True, True, False, False]
    assert rows(sql, "health_checks") == 2
    assert rows(sql, "health_checks_default") == 0


@pytest.mark.parametrize("table", [DAYS, TRANSITIONS], ids=lambda table: str(table.name))
async def test_months_that_are_too_old_are_dropped_whole(
    database: Database, sql: psycopg.Connection[Any], table: PartitionedTable
) -> None:
    columns = "starting_at, healthy, degraded, unhealthy, unknown, latency_ms_total, latency_ms_max"
    values = "%s, 1, 0, 0, 0, 1, 1"
    if table is TRANSITIONS:
        columns, values = "at, id, from_status, to_status", "%s, gen_random_uuid(), 'a', 'b'"
    for days in (1, 1000, 1200):
        sql.execute(
            f"insert into {table.name} (tenant_id, integration_id, {columns})"
            f" values ('acme', gen_random_uuid(), {values})",
            [NOW - timedelta(days=days)],
        )

    await one_round(database)

    assert rows(sql, table.name) == 2
    assert rows(sql, table.default) == 0


async def test_a_partition_in_use_is_left_for_a_later_round_and_keeps_nobody_waiting(
    database: Database, sql: psycopg.Connection[Any], database_url: str
) -> None:
    old = NOW - timedelta(days=40)
    add_check(sql, old)
    name = f"health_checks_{old:%Y%m%d}"
    await one_round(database, health_checks=timedelta(days=50))

    with psycopg.connect(database_url) as reading:
        reading.execute("select count(*) from health_checks")
        await one_round(database)
        during = partitions(sql, CHECKS)
        add_check(sql, NOW)
    await one_round(database)

    assert name in during
    assert name not in partitions(sql, CHECKS)


async def test_a_day_that_is_not_rolled_up_is_not_dropped(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    old = NOW - timedelta(days=40)
    add_check(sql, old)
    await one_round(database, health_checks=timedelta(days=50))
    sql.execute("update history_progress set rolled_until = %s", [old - timedelta(days=1)])

    async with database.system_transaction() as transaction:
        [partition, *_] = await transaction.partitions.list_existing(CHECKS)
        dropped = await transaction.partitions.drop(CHECKS, partition)

    assert partition.name == f"health_checks_{old:%Y%m%d}"
    assert not dropped
