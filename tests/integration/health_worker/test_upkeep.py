"""What the scheduler does beside the schedule."""

from datetime import timedelta

import psycopg
import pytest
from tests.support.catalog import claim, outcome, register

from stella_contracts.health import ErrorCode, HealthResult
from stella_health_worker.recording import record_outcomes
from stella_health_worker.upkeep import measure, tidy
from stella_runtime.persistence import Database
from stella_runtime.telemetry.metrics import Metrics


async def test_gauges_say_how_the_catalog_is(database: Database) -> None:
    await register(database, type="harbor", failure_threshold=1)
    await register(database, type="harbor", enabled=False)
    await register(database, type="in-memory", tenant="globex")
    for target in await claim(database):
        if target.provider_type == "harbor":
            result = HealthResult.unhealthy(ErrorCode.TLS, "expired")
            async with database.system_transaction() as transaction:
                await record_outcomes(transaction, [outcome(target, result)], Metrics())
    metrics = Metrics()

    await measure(database, metrics)

    lines = metrics.exposition().decode().splitlines()
    assert 'integration_health_status{tenant="acme",type="harbor"} 0.0' in lines
    counts = 'integration_health_integrations{status="%s",tenant="%s",type="%s"} 1.0'
    assert counts % ("unhealthy", "acme", "harbor") in lines
    assert counts % ("disabled", "acme", "harbor") in lines
    assert counts % ("unknown", "globex", "in-memory") in lines
    assert "integration_outbox_messages 2.0" in lines


@pytest.mark.invented_messages
@pytest.mark.parametrize(("hours", "left"), [(24, 1), (48, 2), (0.5, 0)])
async def test_what_has_served_is_deleted(
    database: Database, database_url: str, hours: float, left: int
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into outbox (id, ordering_key, exchange, routing_key, body, published_at)"
            " select gen_random_uuid(), 'k', 'e', 'r', '', now() - age"
            " from unnest(array['25 hours', '1 hour']::interval[]) age"
        )
        connection.execute(
            "insert into idempotency_keys (tenant_id, actor, key, request_hash, created_at)"
            " values ('acme', 'alice', 'old', '', now() - interval '25 hours'),"
            " ('acme', 'alice', 'new', '', now())"
        )

    await tidy(database, outbox_kept=timedelta(hours=hours))

    with psycopg.connect(database_url) as connection:
        messages = connection.execute("select count(*) from outbox").fetchone()
        keys = connection.execute("select key from idempotency_keys").fetchall()
    assert messages == (left,)
    assert keys == [("new",)]
