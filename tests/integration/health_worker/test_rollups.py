"""Roll-ups are the aggregate of the checks: whenever they came, and when they are gone."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.catalog import TENANT
from tests.support.history import (
    Stored,
    add_checks,
    aggregate,
    one_round,
    read_rollups,
    set_rolled_until,
)
from tests.support.postgres import BOTH_RELEASES

from stella_contracts.health import Rollup
from stella_health_worker.history import roll_up
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database, open_engine
from stella_runtime.persistence.health_checks import Span

OTHER = "globex"
UNITS: tuple[Literal["hour", "day"], ...] = ("hour", "day")
NOW = datetime.now(UTC)
HOURS_BACK = 60

a_check = st.tuples(
    # Few hours, so that many a late check falls into one that is rolled up.
    st.sampled_from([0, 1, 2, 3, 9, 26, 27, 40, HOURS_BACK - 2]).map(lambda hours: hours * 3600),
    st.integers(0, 3599),
    st.sampled_from([(TENANT, 0), (TENANT, 1), (OTHER, 2)]),
    st.sampled_from(["healthy", "degraded", "unhealthy", "unknown"]),
    st.integers(0, 60_000),
)


async def both(database: Database, checks: list[Stored]) -> None:
    """The answer and the definition are the same, for whoever has checks."""
    owners = {(check.tenant_id, check.integration_id) for check in checks}
    for tenant, integration in owners:
        own = [check for check in checks if check.integration_id == integration]
        for unit in UNITS:
            assert await read_rollups(database, tenant, integration, unit) == aggregate(own, unit)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("postgres_server", BOTH_RELEASES, indirect=True)
@settings(
    max_examples=8,
    # Each example takes a second: one that fails is shown as it is.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.lists(a_check, min_size=5, max_size=25), min_size=2, max_size=3))
async def test_rollups_are_the_aggregate_of_the_checks(
    database: Database, sql: psycopg.Connection[Any], batches: list[list[Any]]
) -> None:
    ids = [new_id() for _ in range(3)]
    sql.execute("update history_progress set raw_since = '-infinity'")
    set_rolled_until(sql, NOW - timedelta(hours=HOURS_BACK + 1))
    stored: list[Stored] = []
    for batch in batches:
        new = [
            Stored(NOW - timedelta(seconds=begin + seconds), ids[which], tenant, status, latency)
            for begin, seconds, (tenant, which), status, latency in batch
        ]
        add_checks(sql, *new)
        stored += new
        await both(database, stored)
        await one_round(database)
        await both(database, stored)

    await one_round(database, health_checks=timedelta(days=1))

    await both(database, stored)


async def test_rollups_outlive_the_checks(database: Database, sql: psycopg.Connection[Any]) -> None:
    checks = [
        Stored(NOW - timedelta(days=days, hours=hours), UUID(int=1), status=status)
        for days, status in ((40, "healthy"), (35, "unhealthy"), (2, "healthy"), (0, "degraded"))
        for hours in (0, 5)
    ]
    set_rolled_until(sql, NOW - timedelta(days=42))
    add_checks(sql, *checks)

    await one_round(database)

    async with database.transaction(TENANT) as transaction:
        left = await transaction.health_checks.list_page(UUID(int=1), Span(), limit=50, before=None)
    assert len(left) == 4
    await both(database, checks)


async def test_a_check_that_comes_when_its_day_is_gone_changes_nothing(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    day = NOW - timedelta(days=35)
    first = Stored(day, UUID(int=1))
    set_rolled_until(sql, day - timedelta(days=1))
    add_checks(sql, first)
    await one_round(database)

    add_checks(sql, Stored(day, UUID(int=1), status="unhealthy"))
    await both(database, [first])
    await one_round(database)

    await both(database, [first])
    assert sql.execute("select count(*) from late_checks").fetchone() == (0,)
    assert sql.execute("select count(*) from health_checks").fetchone() == (0,)


async def test_rolling_up_again_gives_the_same(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    checks = [Stored(NOW - timedelta(hours=hours), UUID(int=1)) for hours in range(2, 50)]
    set_rolled_until(sql, NOW - timedelta(hours=52))
    add_checks(sql, *checks)
    await one_round(database)

    set_rolled_until(sql, NOW - timedelta(hours=30))
    await one_round(database)

    await both(database, checks)


async def test_several_schedulers_roll_up_once(
    database: Database, sql: psycopg.Connection[Any], database_url: str
) -> None:
    checks = [
        Stored(NOW - timedelta(hours=hours), UUID(int=number))
        for hours in range(2, 30)
        for number in (1, 2)
    ]
    set_rolled_until(sql, NOW - timedelta(hours=31))
    add_checks(sql, *checks)
    others = [
        Database(open_engine(database_url, pool_size=1, application="tests")) for _ in range(2)
    ]

    await asyncio.gather(*(one_round(each) for each in (database, *others)))
    # Who had no turn is done at once; whoever comes next does what is left.
    await one_round(database)
    for each in others:
        await each.close()

    await both(database, checks)
    assert sql.execute("select count(*) from late_checks").fetchone() == (0,)


async def test_a_late_check_that_is_not_committed_yet_is_not_forgotten(
    database: Database, sql: psycopg.Connection[Any], database_url: str
) -> None:
    late = [Stored(NOW - timedelta(hours=9, minutes=NOW.minute), UUID(int=1)) for _ in range(2)]
    add_checks(sql, late[0])

    with psycopg.connect(database_url) as storing:
        add_checks(storing, late[1])
        await roll_up(database)
        await both(database, late[:1])
    await both(database, late)
    await roll_up(database)

    await both(database, late)
    assert sql.execute("select count(*) from late_checks").fetchone() == (0,)


async def test_an_hour_is_rolled_up_when_what_it_found_is_settled(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    set_rolled_until(sql, NOW - timedelta(hours=5))

    found = await one_round(database)

    # Two hours at most: the one that runs, and the one before it until half past.
    assert found["integration_history_rollup_lag_seconds"] < 1.5 * 3600 + 60
    row = sql.execute("select rolled_until from history_progress").fetchone()
    assert row is not None
    assert row[0] + timedelta(minutes=30) <= datetime.now(UTC)


async def test_a_span_counts_in_whole_periods(
    database: Database, sql: psycopg.Connection[Any]
) -> None:
    noon = (NOW - timedelta(days=2)).replace(hour=12, minute=0, second=0, microsecond=0)
    checks = [Stored(noon + timedelta(minutes=m), UUID(int=1)) for m in (-30, 10, 50, 70, 130)]
    set_rolled_until(sql, noon - timedelta(days=1))
    add_checks(sql, *checks)
    await one_round(database)

    async def within(since: int, until: int, unit: Literal["hour", "day"]) -> list[Rollup]:
        span = Span(noon + timedelta(minutes=since), noon + timedelta(minutes=until))
        async with database.transaction(TENANT) as transaction:
            return list(
                await transaction.rollups.list_page(
                    UUID(int=1), span, unit=unit, limit=9, before=None
                )
            )

    hours = aggregate(checks, "hour")
    assert await within(20, 61, "hour") == hours[1:3]
    assert await within(0, 60, "hour") == hours[2:3]
    assert await within(20, 30, "day") == aggregate(checks, "day")
