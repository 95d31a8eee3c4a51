"""A tenant's transaction sees that tenant's rows alone."""

from datetime import UTC, datetime

import pytest
from tests.support.catalog import TENANT, claim, outcome, register

from stella_contracts.errors import IntegrationNotFound, NameTaken
from stella_contracts.health import ErrorCode, HealthResult
from stella_health_worker.recording import record_outcomes
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database
from stella_runtime.persistence.audit_logs import AuditFilters
from stella_runtime.persistence.health_checks import Span
from stella_runtime.persistence.integrations import Filters, Sort
from stella_runtime.telemetry.metrics import Metrics

OTHER = "globex"


async def test_another_tenants_integration_does_not_exist(database: Database) -> None:
    integration = await register(database, tenant=TENANT)

    async with database.transaction(OTHER) as transaction:
        listed = await transaction.integrations.list_page(
            Filters(), sort=Sort.CREATED, limit=10, after=None
        )
        with pytest.raises(IntegrationNotFound):
            await transaction.integrations.get(integration.id)
        with pytest.raises(IntegrationNotFound):
            await transaction.integrations.lock(integration.id)
        with pytest.raises(IntegrationNotFound):
            await transaction.schedule.lock(integration.id)
        with pytest.raises(IntegrationNotFound):
            await transaction.schedule.get(integration.id)

    assert listed == []


async def test_another_tenants_schedule_cannot_be_changed(database: Database) -> None:
    await register(database, tenant=TENANT)
    integration = await register(database, tenant=TENANT)

    async with database.transaction(OTHER) as transaction:
        await transaction.schedule.pause(integration.id)

    assert len(await claim(database)) == 2


async def test_another_tenants_history_incidents_and_audit_are_empty(database: Database) -> None:
    integration = await register(database, tenant=TENANT, failure_threshold=1)
    [target] = await claim(database)
    found = outcome(target, HealthResult.unhealthy(ErrorCode.TLS, "expired"))
    async with database.system_transaction() as system:
        await record_outcomes(system, [found], Metrics())
    async with database.transaction(TENANT) as transaction:
        transaction.audit_logs.add("integration.created", actor="alice", request_id="r")

    async with database.transaction(OTHER) as transaction:
        history = await transaction.health_checks.list_page(
            integration.id, Span(), limit=10, before=None
        )
        check = await transaction.health_checks.find(integration.id, target.check_id)
        rollups = await transaction.rollups.list_page(
            integration.id, Span(), unit="day", limit=10, before=None
        )
        transitions = await transaction.transitions.list_page(
            integration.id, Span(), limit=10, before=None
        )
        incident = await transaction.incidents.find_open(integration.id)
        resolved = await transaction.incidents.resolve_once(integration.id)
        entries = await transaction.audit_logs.list_page(AuditFilters(), limit=10, before=None)
        request = await transaction.check_requests.find(
            integration.id, target.check_id, now=datetime.now(UTC)
        )

    assert (list(history), check, list(rollups), list(transitions)) == ([], None, [], [])
    assert (incident, resolved, list(entries), request) == (None, None, [], None)


async def test_an_idempotency_key_belongs_to_its_tenant(database: Database) -> None:
    for tenant in (TENANT, OTHER):
        async with database.transaction(tenant) as transaction:
            assert await transaction.idempotency_keys.reserve("alice", "key", b"hash") is None


async def test_a_name_is_taken_within_its_tenant_alone(database: Database) -> None:
    await register(database, tenant=TENANT, name="registry")
    await register(database, tenant=OTHER, name="registry")

    with pytest.raises(NameTaken):
        await register(database, tenant=TENANT, name="registry")


async def test_a_deleted_integration_frees_its_name(database: Database) -> None:
    first = await register(database, name=f"registry-{new_id()}")
    async with database.transaction(TENANT) as transaction:
        await transaction.schedule.lock(first.id)
        row = await transaction.integrations.lock(first.id)
        await transaction.integrations.delete(row)

    second = await register(database, name=first.name)

    assert second.id != first.id
