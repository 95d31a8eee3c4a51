"""A catalog to test on: the database as the services see it, and integrations in it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest

from stella_contracts.health import HealthResult
from stella_contracts.integrations import Integration, IntegrationCreate
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database, open_engine
from stella_runtime.persistence.scheduling import Outcome, Target

TENANT = "acme"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The pool of one process."""
    database = Database(open_engine(database_url, pool_size=5, application="tests"))
    yield database
    await database.close()


async def register(database: Database, *, tenant: str = TENANT, **fields: Any) -> Integration:
    """Store an integration that is due now, as the API does."""
    new = IntegrationCreate(**{"type": "in-memory", "name": f"tool-{new_id()}"} | fields)
    async with database.transaction(tenant) as transaction:
        integration = await transaction.integrations.add(
            new,
            interval_seconds=new.check_interval_seconds or 300,
            timeout_seconds=new.check_timeout_seconds or 10,
        )
        await transaction.schedule.add(integration.id, enabled=new.enabled)
    return integration


async def edit(database: Database, integration_id: UUID, **changes: Any) -> None:
    """Change an integration's configuration, as the API does."""
    async with database.transaction(TENANT) as transaction:
        await transaction.schedule.lock(integration_id)
        row = await transaction.integrations.lock(integration_id)
        await transaction.integrations.change(row, changes)
        await transaction.schedule.restart(integration_id)


async def claim(database: Database, limit: int = 100) -> list[Target]:
    """Claim what is due, as the scheduler does, and load it, as a worker does."""
    async with database.system_transaction() as transaction:
        claimed = await transaction.leases.claim(limit)
    checks = [*claimed.checks, *claimed.slow_checks]
    async with database.system_transaction() as transaction:
        return list(await transaction.scheduling.load_scheduled(checks))


async def make_due(database: Database, integration_id: UUID) -> None:
    """Let the time of the next check have come."""
    async with database.transaction(TENANT) as transaction:
        await transaction.schedule.make_due(integration_id)


def outcome(target: Target, result: HealthResult, **fields: Any) -> Outcome:
    """What a check found."""
    values: dict[str, Any] = {
        "target": target,
        "result": result,
        "connection": None,
        "latency_ms": 7,
        "steps": [],
        "checked_at": datetime.now(UTC),
        "worker": "tests",
    }
    return Outcome(**values | fields)


@dataclass(frozen=True, slots=True)
class Announced:
    """An event that is on its way."""

    event: str
    body: dict[str, Any]


async def announced(database: Database) -> list[Announced]:
    """What the outbox holds and no relay has taken, oldest first. Takes it, as a relay does."""
    taken = await database.claim(1000)
    await database.mark_published([each.sequence for each in taken])
    return [
        Announced(event=str(body["type"]), body=body)
        for body in (orjson.loads(each.message.body) for each in taken)
        if "type" in body
    ]
