"""After a downtime: each row is checked once, spread over the minute that follows."""

import asyncio
from collections import Counter

import psycopg
import pytest
from tests.support.catalog import claim, make_due, outcome, register

from stella_contracts.health import HealthResult
from stella_health_worker.recording import record_outcomes
from stella_runtime.persistence import Database
from stella_runtime.persistence.leases import Claimed
from stella_runtime.telemetry.metrics import Metrics

MANY = """
with added as (
    insert into integrations (id, tenant_id, type, name, config_json, check_interval_seconds,
        check_timeout_seconds)
    select gen_random_uuid(), 'acme', 'in-memory', 'tool-' || n, '{}', %s, 10
    from generate_series(1, %s) n returning id, tenant_id)
insert into schedule_state (integration_id, tenant_id, next_check_at, checks_done)
select id, tenant_id, now() - interval '1 hour', 1 from added
"""


def execute(database_url: str, query: str, *values: object) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(query, values)


def numbers(database_url: str, query: str) -> list[float]:
    with psycopg.connect(database_url) as connection:
        return [float(row[0]) for row in connection.execute(query).fetchall()]


def starts(database_url: str) -> list[float]:
    """When each row is due, in seconds after it was put off."""
    return numbers(
        database_url, "select extract(epoch from next_check_at - put_off_at) from schedule_state"
    )


async def tick(database: Database, limit: int = 1000) -> Claimed:
    async with database.system_transaction() as transaction:
        return await transaction.leases.claim(limit)


async def test_after_an_hour_the_late_rows_are_spread_over_a_minute(
    database: Database, database_url: str
) -> None:
    execute(database_url, MANY, 86400, 6000)

    claims = [await tick(database) for _ in range(6)]

    assert sum(each.put_off for each in claims) == 6000
    assert [each.checks for each in claims] == [[]] * 6
    moments = starts(database_url)
    a_second = Counter(int(moment) for moment in moments)
    assert min(moments) >= 0
    assert max(moments) < 60
    assert len(a_second) == 60
    assert max(a_second.values()) <= 1.5 * 6000 / 60


async def test_rows_with_a_short_interval_are_spread_over_that(
    database: Database, database_url: str
) -> None:
    execute(database_url, MANY, 30, 200)

    await tick(database)

    assert max(starts(database_url)) < 33
    assert max(starts(database_url)) > 20


async def test_schedulers_side_by_side_put_each_row_off_once(
    database: Database, database_url: str
) -> None:
    execute(database_url, MANY, 300, 400)

    claims = await asyncio.gather(*(tick(database, 100) for _ in range(8)))

    assert sum(each.put_off for each in claims) == 400
    [put_off] = numbers(database_url, "select count(put_off_at) from schedule_state")
    assert put_off == 400


async def test_a_row_that_was_put_off_is_claimed_the_next_time_however_late(
    database: Database, database_url: str
) -> None:
    execute(database_url, MANY, 300, 3)
    await tick(database)
    execute(database_url, "update schedule_state set next_check_at = now() - interval '5 minutes'")

    assert len((await tick(database)).checks) == 3


async def test_a_second_downtime_is_caught_up_as_gently(
    database: Database, database_url: str
) -> None:
    execute(database_url, MANY, 300, 3)
    await tick(database)
    execute(
        database_url,
        "update schedule_state set put_off_at = put_off_at - interval '2 hours',"
        " next_check_at = now() - interval '1 hour'",
    )

    assert (await tick(database)).put_off == 3


async def test_what_was_being_checked_when_all_went_down_is_spread_as_well(
    database: Database, database_url: str
) -> None:
    integration = await register(database)
    await claim(database)
    execute(
        database_url,
        "update schedule_state set checks_done = 4, next_check_at = now() - interval '1 hour'",
    )

    assert (await tick(database)).put_off == 1
    await make_due(database, integration.id)
    assert len((await tick(database)).checks) == 1


async def test_a_first_check_is_never_put_off(database: Database, database_url: str) -> None:
    integration = await register(database)
    execute(database_url, "update schedule_state set next_check_at = now() - interval '1 hour'")

    assert [target.integration_id for target in await claim(database)] == [integration.id]


async def test_a_scheduler_that_is_a_little_late_claims_at_once(
    database: Database, database_url: str
) -> None:
    execute(database_url, MANY, 300, 3)
    execute(database_url, "update schedule_state set next_check_at = now() - interval '5 seconds'")

    assert len((await tick(database)).checks) == 3


@pytest.mark.parametrize(("seconds", "periods"), [(30, 0), (59, 0), (3599, 59)])
async def test_missed_slots_are_counted(
    database: Database, database_url: str, seconds: int, periods: int
) -> None:
    await register(database, check_interval_seconds=60)
    # So that a period is a minute and not a minute within a tenth.
    execute(
        database_url,
        "update schedule_state s set checks_done = 1, next_check_at = now()"
        " - %s / 60.0 * check_period(s.integration_id, 60)",
        seconds,
    )
    await tick(database)
    execute(database_url, "update schedule_state set next_check_at = now()")
    metrics = Metrics()

    [target] = await claim(database)
    async with database.system_transaction() as transaction:
        await record_outcomes(transaction, [outcome(target, HealthResult.healthy())], metrics)

    assert numbers(database_url, "select missed_slots from schedule_state") == [periods]
    assert f"integration_missed_slots_total {periods}.0" in metrics.exposition().decode()
