"""What subscribers are told of an integration that cannot make up its mind."""

import pytest
from tests.support.catalog import TENANT, register
from tests.support.checking import REFUSED, SLOW, WELL, check, names, play, told

from stella_contracts.health import HealthResult
from stella_runtime.persistence import Database

CALM = 21


@pytest.mark.parametrize(
    ("thresholds", "pair"),
    [
        pytest.param((3, 2), [], id="with hysteresis"),
        pytest.param(
            (1, 1),
            ["health.changed", "alert.opened", "health.changed", "alert.resolved"],
            id="without",
        ),
    ],
)
async def test_thirty_alternating_checks_are_one_pair_at_most_and_then_flapping_once(
    database: Database, thresholds: tuple[int, int], pair: list[str]
) -> None:
    failures, successes = thresholds
    integration = await register(database, failure_threshold=failures, success_threshold=successes)
    await check(database, integration.id, finds=WELL)
    await told(database)

    await play(database, integration.id, [REFUSED, WELL] * 15)

    assert names(await told(database)) == [*pair, "health.flapping"]
    await play(database, integration.id, [WELL] * CALM)
    stable = await told(database)
    assert names(stable) == ["health.stable"]
    assert stable[0].body["data"]["status"] == "healthy"
    assert stable[0].body["data"]["since"] is not None


async def test_an_outage_that_outlasts_the_flapping_is_told_once_it_is_calm(
    database: Database,
) -> None:
    integration = await register(database)
    await play(database, integration.id, [WELL, REFUSED] * 12)
    assert names(await told(database))[-1] == "health.flapping"

    await play(database, integration.id, [REFUSED] * CALM)

    events = await told(database)
    assert names(events) == ["health.stable", "health.changed", "alert.opened"]
    change = events[1].body["data"]
    assert (change["previousStatus"], change["status"]) == ("healthy", "unhealthy")
    await play(database, integration.id, [WELL, WELL])
    assert names(await told(database)) == ["health.changed", "alert.resolved"]


async def test_an_outage_that_was_told_before_the_flapping_ends_with_the_calm(
    database: Database,
) -> None:
    integration = await register(database)
    await play(database, integration.id, [WELL])
    await told(database)

    await play(database, integration.id, ([REFUSED] * 3 + [WELL] * 2) * 4)

    pair = ["health.changed", "alert.opened", "health.changed", "alert.resolved"]
    assert names(await told(database)) == [*pair, *pair[:2], "health.flapping"]
    await play(database, integration.id, [WELL] * CALM)
    events = await told(database)
    assert names(events) == ["health.stable", "health.changed", "alert.resolved"]
    change = events[1].body["data"]
    assert (change["previousStatus"], change["status"]) == ("unhealthy", "healthy")


async def test_a_status_that_is_degraded_every_other_time_is_flapping_as_well(
    database: Database,
) -> None:
    integration = await register(database)
    await play(database, integration.id, [WELL, SLOW] * 6)

    events = names(await told(database))

    assert events.count("health.flapping") == 1
    assert events[-1] == "health.flapping"
    assert len(events) <= 6


@pytest.mark.parametrize("last", [WELL, REFUSED])
async def test_flapping_ends_when_it_is_no_longer_checked(
    database: Database, last: HealthResult
) -> None:
    integration = await register(database, failure_threshold=1, success_threshold=1)
    await play(database, integration.id, [WELL, REFUSED] * 4 + [last])
    events = await told(database)

    async with database.transaction(TENANT) as transaction:
        await transaction.schedule.lock(integration.id)
        state = await transaction.schedule.get(integration.id)
        await transaction.schedule.pause(integration.id)

    assert names(events)[-1] == "health.flapping"
    assert state.flapping_since is not None
    async with database.transaction(TENANT) as transaction:
        assert (await transaction.schedule.get(integration.id)).flapping_since is None
