"""Checks with scripted results, from the claim to what is announced, without a clock."""

from datetime import UTC, datetime
from uuid import UUID

from stella_contracts.health import ErrorCode, HealthResult
from stella_health_worker.recording import record_outcomes
from stella_runtime.persistence import Database
from stella_runtime.persistence.scheduling import Outcome
from stella_runtime.telemetry.metrics import Metrics
from tests.support.catalog import Announced, announced, claim, make_due, outcome

WELL = HealthResult.healthy()
SLOW = HealthResult.degraded(ErrorCode.REMOTE_ERROR, "A component is down")
REFUSED = HealthResult.unhealthy(ErrorCode.CONNECT, "The connection was refused")
REJECTED = HealthResult.unhealthy(ErrorCode.AUTH_REJECTED, "HTTP 401")
SEALED = HealthResult.unhealthy(ErrorCode.SECRET_UNRESOLVABLE, "The vault is sealed.")


async def record(database: Database, *outcomes: Outcome) -> None:
    """Store outcomes as a worker does."""
    async with database.system_transaction() as transaction:
        await record_outcomes(transaction, outcomes, Metrics())


async def check(database: Database, *integration_ids: UUID, finds: HealthResult) -> None:
    """One check of each of these, in one batch; all are due again."""
    for integration_id in integration_ids:
        await make_due(database, integration_id)
    wanted = set(integration_ids)
    targets = [each for each in await claim(database, 1000) if each.integration_id in wanted]
    await record(
        database, *(outcome(each, finds, checked_at=datetime.now(UTC)) for each in targets)
    )


async def play(database: Database, integration_id: UUID, results: list[HealthResult]) -> None:
    """Check one integration again and again."""
    for result in results:
        await check(database, integration_id, finds=result)


async def told(database: Database, prefix: str = "integration.") -> list[Announced]:
    """What has been announced since, of the events that begin so."""
    return [each for each in await announced(database) if each.event.startswith(prefix)]


def names(events: list[Announced]) -> list[str]:
    return [each.event.removeprefix("integration.") for each in events]
