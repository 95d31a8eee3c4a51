"""When a provider that limits our rate is asked again."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from tests.support.catalog import TENANT, announced, claim, outcome, register

from stella_contracts.health import ErrorCode, HealthResult, HealthStatus
from stella_health_worker.recording import record_outcomes
from stella_runtime.persistence import Database
from stella_runtime.persistence.scheduling import Outcome
from stella_runtime.telemetry.metrics import Metrics


def limited(retry_after: float | None) -> HealthResult:
    return HealthResult(
        status=HealthStatus.DEGRADED,
        error_code=ErrorCode.RATE_LIMITED,
        retry_after_seconds=retry_after,
    )


async def record(database: Database, found: Outcome) -> None:
    async with database.system_transaction() as transaction:
        await record_outcomes(transaction, [found], Metrics())


async def seconds_to_next(database: Database, integration_id: UUID) -> float:
    async with database.transaction(TENANT) as transaction:
        state = await transaction.schedule.get(integration_id)
    assert state.next_check_at is not None
    return (state.next_check_at - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("interval", "retry_after", "at_least", "at_most"),
    [
        pytest.param(30, 120, 115, 121, id="the pause is longer than the interval"),
        pytest.param(300, 5, 200, 331, id="the interval is longer than the pause"),
        pytest.param(300, None, 200, 331, id="no pause was named"),
    ],
)
async def test_a_limited_integration_is_degraded_and_left_alone_for_as_long_as_it_asks(
    database: Database, interval: int, retry_after: float | None, at_least: float, at_most: float
) -> None:
    integration = await register(database, check_interval_seconds=interval)
    [target] = await claim(database)

    await record(database, outcome(target, limited(retry_after)))

    assert at_least < await seconds_to_next(database, integration.id) < at_most
    [event] = await announced(database)
    assert event.event == "integration.health.changed"
    assert event.body["data"]["status"] == "degraded"


async def test_an_asked_for_check_that_is_limited_puts_the_schedule_off_as_well(
    database: Database,
) -> None:
    integration = await register(database, check_interval_seconds=30)
    [scheduled] = await claim(database)
    await record(database, outcome(scheduled, HealthResult.healthy()))
    async with database.transaction(TENANT) as transaction:
        request = await transaction.check_requests.join_or_add(
            integration.id, requested_by="alice", timeout_seconds=10
        )
    async with database.system_transaction() as transaction:
        requested = await transaction.scheduling.find_requested(request.check_id)
    assert requested is not None

    await record(database, outcome(requested, limited(120)))

    assert await seconds_to_next(database, integration.id) > 115
