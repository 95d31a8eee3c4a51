"""Many outages with one cause: one alert, balanced with its end, and never across tenants."""

import asyncio
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.integration.health_worker.test_mutes import mute, unmute
from tests.support.catalog import TENANT, Announced, claim, outcome, register
from tests.support.checking import REFUSED, REJECTED, SEALED, WELL, check, names, record, told

from stella_contracts.health import HealthResult, IntegrationStatus
from stella_health_worker.alerts import announce_held
from stella_runtime.alerting import Alerting
from stella_runtime.persistence import Database
from stella_runtime.persistence.incidents import StoredIncident

ON_HOST = {"config": {"endpoint": "https://harbor.test:8443/projects"}, "failure_threshold": 1}
IN_VAULT = {"auth_ref_uri": "authref://vault/ci/harbor", "failure_threshold": 1}


async def register_many(database: Database, number: int, **fields: Any) -> list[UUID]:
    return [(await register(database, **fields)).id for _ in range(number)]


async def fail_one_by_one(
    database: Database, integration_ids: list[UUID], finds: HealthResult = REFUSED
) -> list[Announced]:
    for integration_id in integration_ids:
        await check(database, integration_id, finds=finds)
    return await told(database, "integration.alert.")


async def recover(database: Database, *integration_ids: UUID) -> list[Announced]:
    for _ in range(2):
        await check(database, *integration_ids, finds=WELL)
    return await told(database, "integration.alert.")


async def incident_of(
    database: Database, integration_id: UUID, tenant: str = TENANT
) -> StoredIncident | None:
    async with database.transaction(tenant) as transaction:
        return await transaction.incidents.find_open(integration_id)


def subjects(events: list[Announced], event: str) -> list[str]:
    return [each.body["subject"] for each in events if each.event == f"integration.alert.{event}"]


@pytest.mark.parametrize(
    ("fields", "finds", "scope", "cause"),
    [
        pytest.param(ON_HOST, REFUSED, "host", "https://harbor.test:8443", id="host"),
        pytest.param(IN_VAULT, SEALED, "vault", "vault", id="vault"),
    ],
)
async def test_outages_with_one_root_are_two_alerts_of_their_own_at_most_and_one_in_common(
    database: Database, fields: dict[str, Any], finds: HealthResult, scope: str, cause: str
) -> None:
    ids = await register_many(database, 6, **fields)

    opened = await fail_one_by_one(database, ids, finds)

    assert names(opened) == ["alert.opened"] * 3
    shared = opened[2].body
    assert shared["subject"] == shared["data"]["incidentId"]
    data = shared["data"]
    assert (data["scope"], data["cause"], data["affected"]) == (scope, cause, 3)
    assert (data["integrationId"], data["providerType"]) == (None, None)
    assert data["errorCode"] == finds.error_code
    for integration_id in ids:
        child = await incident_of(database, integration_id)
        assert child is not None
        assert str(child.parent_id) == data["incidentId"]

    resolved = await recover(database, *ids[:5])
    assert subjects(resolved, "resolved") == subjects(opened, "opened")[:2]
    [last] = await recover(database, ids[5])
    assert last.event == "integration.alert.resolved"
    assert last.body["subject"] == data["incidentId"]
    assert last.body["data"]["affected"] == 6
    assert last.body["data"]["resolvedAt"] is not None


async def test_what_fails_in_one_batch_is_one_alert(database: Database) -> None:
    ids = await register_many(database, 20, **ON_HOST)

    await check(database, *ids, finds=REFUSED)

    opened = await told(database, "integration.alert.")
    assert names(opened) == ["alert.opened"]
    assert opened[0].body["data"]["affected"] == 20
    assert names(await recover(database, *ids)) == ["alert.resolved"]


async def test_tenants_share_no_incident(database: Database) -> None:
    for tenant in (TENANT, "globex"):
        await register_many(database, 2, tenant=tenant, **ON_HOST)

    await record(database, *(outcome(each, REFUSED) for each in await claim(database)))

    opened = await told(database, "integration.alert.")
    assert [each.body["data"]["scope"] for each in opened] == [None] * 4
    third = await register_many(database, 1, **ON_HOST)
    [shared] = await fail_one_by_one(database, third)
    assert (shared.body["tenantid"], shared.body["data"]["affected"]) == (TENANT, 3)
    async with database.transaction("globex") as transaction:
        assert await transaction.incidents.resolve_left([UUID(shared.body["subject"])]) == []


async def test_another_host_or_another_cause_is_another_outage(database: Database) -> None:
    here = await register_many(database, 2, **ON_HOST)
    there = await register_many(
        database, 2, config={"endpoint": "https://harbor.test"}, failure_threshold=1
    )
    rejected = await register_many(database, 4, **ON_HOST | {"failure_threshold": 1})

    opened = await fail_one_by_one(database, [*here, *there])
    opened += await fail_one_by_one(database, rejected, REJECTED)

    assert len(subjects(opened, "opened")) == 8
    assert all(each.body["data"]["scope"] is None for each in opened)


async def test_outages_far_apart_are_not_grouped(database: Database, database_url: str) -> None:
    ids = await register_many(database, 3, **ON_HOST)
    await fail_one_by_one(database, ids[:2])
    with psycopg.connect(database_url) as connection:
        connection.execute("update incidents set announced_at = now() - interval '11 minutes'")

    [opened] = await fail_one_by_one(database, ids[2:])

    assert opened.body["subject"] == str(ids[2])


async def test_workers_side_by_side_open_one_incident_in_common(database: Database) -> None:
    ids = await register_many(database, 8, **ON_HOST)

    await asyncio.gather(
        *(check_alone(database, ids[start : start + 2]) for start in range(0, 8, 2))
    )

    opened = await told(database, "integration.alert.")
    shared = [each for each in opened if each.body["data"]["scope"] == "host"]
    assert len(shared) == 1
    assert len(opened) <= 3


async def check_alone(database: Database, ids: list[UUID]) -> None:
    async with asyncio.timeout(30):
        targets = await claim(database, 2)
        await record(database, *(outcome(target, REFUSED) for target in targets))


async def test_one_that_fails_for_another_reason_leaves_and_is_told_by_itself(
    database: Database,
) -> None:
    ids = await register_many(database, 4, **ON_HOST)
    await fail_one_by_one(database, ids)

    await check(database, ids[3], finds=REJECTED)

    [opened] = await told(database, "integration.alert.")
    assert opened.body["subject"] == str(ids[3])
    assert opened.body["data"]["errorCode"] == "auth_rejected"
    resolved = await recover(database, *ids[:3])
    assert len(subjects(resolved, "resolved")) == 3
    [last] = await recover(database, ids[3])
    assert last.body["subject"] == str(ids[3])


async def test_the_last_part_that_is_no_longer_checked_ends_it(database: Database) -> None:
    ids = await register_many(database, 3, **ON_HOST)
    opened = await fail_one_by_one(database, ids)
    await recover(database, *ids[:2])

    async with database.transaction(TENANT) as transaction:
        await transaction.schedule.lock(ids[2])
        alerting = Alerting(transaction.incidents, transaction.outbox, service="api")
        await alerting.resolve(ids[2], provider_type="in-memory", status=IntegrationStatus.DISABLED)
        await alerting.settle()

    [last] = await told(database, "integration.alert.")
    assert last.body["subject"] == opened[2].body["subject"]


async def test_muted_parts_are_neither_counted_nor_told_until_their_mute_ends(
    database: Database,
) -> None:
    muted = await register_many(database, 3, tags=["eu"], **ON_HOST)
    made = await mute(database, tag="eu")
    others = await register_many(database, 2, **ON_HOST)
    opened = await fail_one_by_one(database, [*muted, *others])
    assert subjects(opened, "opened") == [str(each) for each in others]

    await unmute(database, made)
    await announce_held(database)

    [shared] = await told(database, "integration.alert.")
    assert (shared.body["data"]["scope"], shared.body["data"]["affected"]) == ("host", 5)
