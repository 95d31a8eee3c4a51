"""What is stored and announced of the outcomes of checks."""

import asyncio
from dataclasses import replace

import pytest
from tests.support.catalog import (
    TENANT,
    announced,
    claim,
    edit,
    make_due,
    outcome,
    register,
)

from stella_contracts.errors import DatabaseUnavailable
from stella_contracts.health import ErrorCode, HealthResult, IntegrationStatus
from stella_contracts.integrations import Connection
from stella_health_worker.recording import Recorder, record_outcomes
from stella_runtime.persistence import Database, open_engine
from stella_runtime.persistence.health_checks import Span
from stella_runtime.persistence.scheduling import Outcome
from stella_runtime.telemetry.metrics import Metrics

REFUSED = HealthResult.unhealthy(ErrorCode.CONNECT, "The connection was refused")


async def record(database: Database, *outcomes: Outcome) -> None:
    async with database.system_transaction() as transaction:
        await record_outcomes(transaction, outcomes, Metrics())


async def check(database: Database, result: HealthResult) -> Outcome:
    [target] = await claim(database)
    found = outcome(target, result)
    await record(database, found)
    await make_due(database, target.integration_id)
    return found


async def history_length(database: Database, found: Outcome) -> int:
    async with database.transaction(TENANT) as transaction:
        page = await transaction.health_checks.list_page(
            found.target.integration_id, Span(), limit=100, before=None
        )
    return len(page)


async def status_of(database: Database, found: Outcome) -> IntegrationStatus:
    async with database.transaction(TENANT) as transaction:
        return (await transaction.integrations.get(found.target.integration_id)).status


async def test_an_outage_is_announced_once_and_its_end_once(database: Database) -> None:
    await register(database)

    for result in [HealthResult.healthy(), *[REFUSED] * 5, *[HealthResult.healthy()] * 4]:
        await check(database, result)

    events = await announced(database)
    assert [each.event for each in events] == [
        "integration.health.changed",
        "integration.health.changed",
        "integration.alert.opened",
        "integration.health.changed",
        "integration.alert.resolved",
    ]
    opened, resolved = events[2].body["data"], events[4].body["data"]
    assert opened["incidentId"] == resolved["incidentId"]
    assert (opened["status"], opened["errorCode"]) == ("unhealthy", "connect")
    assert opened["resolvedAt"] is None
    assert resolved["resolvedAt"] is not None


async def test_a_result_that_comes_twice_counts_once(database: Database) -> None:
    await register(database)
    [target] = await claim(database)
    found = outcome(target, REFUSED)

    await record(database, found)
    await record(database, found)
    await record(database, found, found)

    assert await history_length(database, found) == 1


async def test_a_late_result_of_a_lost_lease_counts_for_nothing(database: Database) -> None:
    integration = await register(database)
    [late] = await claim(database)
    await make_due(database, integration.id)
    [current] = await claim(database)

    await record(database, outcome(late, REFUSED))
    await record(database, outcome(current, HealthResult.healthy()))

    found = outcome(current, HealthResult.healthy())
    assert await history_length(database, found) == 1
    assert await status_of(database, found) == "healthy"


async def test_a_result_of_the_former_configuration_is_kept_and_changes_nothing(
    database: Database,
) -> None:
    integration = await register(database, failure_threshold=1)
    [target] = await claim(database)
    await edit(database, integration.id, config={"endpoint": "https://elsewhere.test"})

    found = outcome(target, REFUSED)
    await record(database, found)
    await record(database, found)

    assert await history_length(database, found) == 1
    assert await status_of(database, found) == "unknown"
    assert await announced(database) == []


async def test_many_outcomes_of_one_integration_in_one_batch_count_in_order(
    database: Database,
) -> None:
    integration = await register(database, failure_threshold=2)
    [scheduled] = await claim(database)
    async with database.transaction(TENANT) as transaction:
        request = await transaction.check_requests.join_or_add(
            integration.id, requested_by="alice", timeout_seconds=10
        )
    async with database.system_transaction() as transaction:
        requested = await transaction.scheduling.find_requested(request.check_id)
    assert requested is not None

    await record(database, outcome(scheduled, REFUSED), outcome(requested, REFUSED))

    found = outcome(scheduled, REFUSED)
    assert await history_length(database, found) == 2
    assert await status_of(database, found) == "unhealthy"
    assert await claim(database) == []


async def test_an_answer_to_a_request_counts_once(database: Database) -> None:
    integration = await register(database)
    async with database.transaction(TENANT) as transaction:
        request = await transaction.check_requests.join_or_add(
            integration.id, requested_by="alice", timeout_seconds=10
        )
    async with database.system_transaction() as transaction:
        requested = await transaction.scheduling.find_requested(request.check_id)
    assert requested is not None
    found = outcome(requested, HealthResult.healthy())

    await record(database, found)
    await record(database, found)

    assert await history_length(database, found) == 1
    async with database.transaction(TENANT) as transaction:
        stored = await transaction.health_checks.find(integration.id, request.check_id)
    assert stored is not None
    assert stored.trigger == "on_demand"


async def test_what_the_plugin_made_of_the_endpoint_is_kept(database: Database) -> None:
    integration = await register(database)
    [target] = await claim(database)
    connection = Connection(api_root="https://harbor.test/api/v2.0")

    await record(database, outcome(target, HealthResult.healthy(), connection=connection))

    async with database.transaction(TENANT) as transaction:
        stored = await transaction.integrations.get(integration.id)
    assert stored.connection == connection


async def test_what_is_recorded_together_is_stored_in_few_transactions(
    database: Database,
) -> None:
    for _ in range(100):
        await register(database)
    targets = await claim(database)
    recorder = Recorder(database, Metrics())

    async with recorder.running():
        await asyncio.gather(
            *(recorder.record(outcome(target, HealthResult.healthy())) for target in targets)
        )

    lengths = [await history_length(database, outcome(target, REFUSED)) for target in targets[:10]]
    assert lengths == [1] * 10


async def test_who_waits_for_a_lost_database_is_told(database: Database) -> None:
    await register(database)
    [target] = await claim(database)
    nowhere = Database(
        open_engine(
            "postgresql://nobody@/nothing?host=/nonexistent", pool_size=1, application="tests"
        )
    )
    recorder = Recorder(nowhere, Metrics())

    async with recorder.running():
        with pytest.raises(DatabaseUnavailable):
            await recorder.record(outcome(target, HealthResult.healthy()))


async def test_a_removed_integration_leaves_its_results_without_a_home(
    database: Database,
) -> None:
    await register(database)
    [target] = await claim(database)
    gone = replace(target, integration_id=target.check_id)

    await record(database, outcome(gone, REFUSED))

    assert await announced(database) == []


async def test_a_result_of_the_former_configuration_that_comes_twice_at_once_is_kept_once(
    database: Database,
) -> None:
    integration = await register(database)
    [target] = await claim(database)
    await edit(database, integration.id, config={"endpoint": "https://elsewhere.test"})
    found = outcome(target, REFUSED)
    again = outcome(target, REFUSED)

    await record(database, found, again)

    assert await history_length(database, found) == 1
