"""Due rows: claimed once, by lease, and due again at the right time."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from tests.support.catalog import TENANT, claim, edit, make_due, outcome, register

from stella_contracts.health import ErrorCode, HealthResult
from stella_health_worker.recording import record_outcomes
from stella_runtime.persistence import Database
from stella_runtime.persistence.schedule_state import HealthState
from stella_runtime.persistence.scheduling import Target
from stella_runtime.telemetry.metrics import Metrics


async def finish(database: Database, target: Target, result: HealthResult) -> None:
    async with database.system_transaction() as transaction:
        await record_outcomes(transaction, [outcome(target, result)], Metrics())


async def state_of(database: Database, target: Target) -> HealthState:
    async with database.transaction(TENANT) as transaction:
        return await transaction.schedule.get(target.integration_id)


def seconds_from_now(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - datetime.now(UTC)).total_seconds()


async def test_a_new_integration_is_due_at_once(database: Database) -> None:
    integration = await register(database)

    targets = await claim(database)

    assert [target.integration_id for target in targets] == [integration.id]


async def test_a_disabled_integration_is_never_due(database: Database) -> None:
    await register(database, enabled=False)

    assert await claim(database) == []


async def test_schedulers_side_by_side_claim_each_row_once(database: Database) -> None:
    registered = {(await register(database)).id for _ in range(60)}

    claims = await asyncio.gather(*(claim(database, limit=10) for _ in range(12)))

    claimed = [target.integration_id for targets in claims for target in targets]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == registered


async def test_a_claimed_row_is_not_due_until_its_lease_ends(
    database: Database, database_url: str
) -> None:
    await register(database)
    [first] = await claim(database)

    assert await claim(database) == []

    with psycopg.connect(database_url) as connection:
        connection.execute("update schedule_state set next_check_at = now() - interval '1 second'")
    [second] = await claim(database)
    assert second.lease_token == (first.lease_token or 0) + 1


async def test_a_check_whose_lease_was_passed_on_is_not_loaded(
    database: Database, database_url: str
) -> None:
    await register(database)
    async with database.system_transaction() as transaction:
        stale = (await transaction.leases.claim(10)).checks
    with psycopg.connect(database_url) as connection:
        connection.execute("update schedule_state set next_check_at = now()")
    await claim(database)

    async with database.system_transaction() as transaction:
        targets = await transaction.scheduling.load_scheduled(stale)

    assert targets == []


async def test_the_next_check_is_an_interval_away_within_a_tenth(database: Database) -> None:
    await register(database, check_interval_seconds=1000)
    [target] = await claim(database)

    await finish(database, target, HealthResult.healthy())

    away = seconds_from_now((await state_of(database, target)).next_check_at)
    assert 890 <= away <= 1100


async def test_intervals_differ_by_integration(database: Database) -> None:
    for _ in range(20):
        await register(database, check_interval_seconds=1000)
    targets = await claim(database)

    for target in targets:
        await finish(database, target, HealthResult.healthy())

    away = {
        round(seconds_from_now((await state_of(database, target)).next_check_at))
        for target in targets
    }
    assert len(away) > 10


@pytest.mark.parametrize("missed_slots", [1, 7, 1000])
async def test_after_downtime_a_row_is_checked_once_and_then_waits_for_a_slot(
    database: Database, database_url: str, missed_slots: int
) -> None:
    await register(database, check_interval_seconds=60)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update schedule_state set next_check_at = now() - %s",
            [timedelta(seconds=60 * missed_slots)],
        )

    [target] = await claim(database)
    await finish(database, target, HealthResult.healthy())

    assert await claim(database) == []
    assert 0 < seconds_from_now((await state_of(database, target)).next_check_at) <= 66


async def test_doubt_is_looked_into_after_half_a_minute(database: Database) -> None:
    await register(database, check_interval_seconds=86400)
    [target] = await claim(database)

    await finish(database, target, HealthResult.unhealthy(ErrorCode.CONNECT, "refused"))

    away = seconds_from_now((await state_of(database, target)).next_check_at)
    assert 25 <= away <= 30


async def test_a_changed_integration_is_due_at_once(database: Database) -> None:
    integration = await register(database, check_interval_seconds=86400)
    [target] = await claim(database)
    await finish(database, target, HealthResult.healthy())
    assert await claim(database) == []

    await edit(database, integration.id, check_interval_seconds=60)

    assert [each.integration_id for each in await claim(database)] == [integration.id]


async def test_a_check_knows_how_many_came_before_it(database: Database) -> None:
    integration = await register(database)

    seen = []
    for _ in range(3):
        await make_due(database, integration.id)
        [target] = await claim(database)
        seen.append(target.checks_before)
        await finish(database, target, HealthResult.healthy())

    assert seen == [0, 1, 2]


GONE = HealthResult.unhealthy(ErrorCode.CONNECT, "The connection was refused")


async def fail_often(database: Database, integration_id: UUID, times: int) -> Target:
    for _ in range(times):
        await make_due(database, integration_id)
        [target] = await claim(database)
        await finish(database, target, GONE)
    return target


async def test_a_target_that_is_gone_is_checked_ever_more_seldom(database: Database) -> None:
    integration = await register(database, check_interval_seconds=300)

    target = await fail_often(database, integration.id, 5)

    assert 1080 <= seconds_from_now((await state_of(database, target)).next_check_at) <= 1320
    target = await fail_often(database, integration.id, 3)
    assert 3590 <= seconds_from_now((await state_of(database, target)).next_check_at) <= 3600


async def test_a_target_that_did_not_answer_comes_in_the_slow_lane_until_it_does(
    database: Database,
) -> None:
    integration = await register(database)
    other = await register(database)

    for result in (GONE, HealthResult.healthy()):
        [target] = [each for each in await claim(database) if each.integration_id == integration.id]
        await finish(database, target, result)
        await make_due(database, integration.id)
        await make_due(database, other.id)
        async with database.system_transaction() as transaction:
            claimed = await transaction.leases.claim(10)
        slow = {check.integration_id for check in claimed.slow_checks}
        assert slow == ({integration.id} if result is GONE else set())
        await make_due(database, integration.id)


async def test_a_success_that_somebody_asked_for_ends_the_long_wait(
    database: Database,
) -> None:
    integration = await register(database, check_interval_seconds=300, success_threshold=1)
    target = await fail_often(database, integration.id, 8)

    async with database.transaction(TENANT) as transaction:
        requested = await transaction.check_requests.join_or_add(
            integration.id, requested_by="tests", timeout_seconds=5
        )
    async with database.system_transaction() as transaction:
        asked = await transaction.scheduling.find_requested(requested.check_id)
    assert asked is not None
    await finish(database, asked, HealthResult.healthy())

    assert 0 < seconds_from_now((await state_of(database, target)).next_check_at) <= 330


async def test_a_shorter_interval_counts_from_the_next_tick(database: Database) -> None:
    integration = await register(database, check_interval_seconds=86400)
    [target] = await claim(database)
    await finish(database, target, HealthResult.healthy())
    assert await claim(database) == []

    await edit(database, integration.id, check_interval_seconds=60)

    [target] = await claim(database)
    await finish(database, target, HealthResult.healthy())
    assert 54 <= seconds_from_now((await state_of(database, target)).next_check_at) + 1 <= 67


async def test_a_longer_timeout_makes_the_next_lease_longer(database: Database) -> None:
    integration = await register(database)
    await edit(database, integration.id, check_timeout_seconds=60)

    [target] = await claim(database)

    assert 80 < target.lease_seconds <= 90


async def test_what_is_paused_is_claimed_no_more_and_its_running_check_changes_nothing(
    database: Database,
) -> None:
    integration = await register(database)
    [running] = await claim(database)

    async with database.transaction(TENANT) as transaction:
        await transaction.schedule.pause(integration.id)

    await finish(database, running, HealthResult.healthy())
    assert await claim(database) == []
    assert (await state_of(database, running)).next_check_at is None


async def test_a_lease_that_is_given_back_is_due_at_the_next_tick(database: Database) -> None:
    await register(database)
    [first] = await claim(database)

    async with database.system_transaction() as transaction:
        await transaction.leases.release([first])

    [second] = await claim(database)
    assert second.integration_id == first.integration_id
    async with database.system_transaction() as transaction:
        await transaction.leases.release([first])
        assert await transaction.leases.renew([first, second]) == {second.integration_id}
    assert await claim(database) == []
