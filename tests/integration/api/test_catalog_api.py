"""Registering, reading, changing and removing integrations."""

from pathlib import Path
from typing import Any

import httpx
from tests.support.api import (
    ANY_VERSION,
    Authority,
    Hub,
    assert_problem,
    audited,
    places,
    registered,
    running_hub,
)
from tests.support.builders import a_config, a_registration
from tests.support.catalog import announced

from stella_api.examples import CREATE_BODIES, UPDATE_BODIES
from stella_contracts.errors import DatabaseUnavailable
from stella_contracts.manifest import Manifest
from stella_runtime.persistence import Database, open_engine

PLUGINS = Path(__file__).parents[3] / "plugins"


async def test_a_registration_is_answered_with_the_record_its_place_and_its_version(
    api: httpx.AsyncClient,
) -> None:
    body = a_registration(
        name="registry-eu", tags=["eu", "a"], authRefUri="authref://vault/ci/registry#robot"
    )

    answer = await api.post("/integrations", json=body)

    assert answer.status_code == 201
    record = answer.json()
    assert answer.headers["location"] == f"/api/v1/integrations/{record['id']}"
    assert answer.headers["etag"] == '"1"'
    assert record == record | {
        "type": "registry",
        "name": "registry-eu",
        "config": body["config"],
        "authRefUri": "authref://vault/ci/registry#robot",
        "tags": ["a", "eu"],
        "status": "unknown",
        "enabled": True,
        "connection": None,
        "version": 1,
    }


async def test_interval_and_timeout_default_to_the_manifest(api: httpx.AsyncClient) -> None:
    record = await registered(api)

    assert (record["checkIntervalSeconds"], record["checkTimeoutSeconds"]) == (120, 7)


async def test_what_was_registered_is_read_back(api: httpx.AsyncClient) -> None:
    record = await registered(api)

    answer = await api.get(f"/integrations/{record['id']}")

    assert answer.json() == record
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_reader_who_has_the_version_gets_no_body(api: httpx.AsyncClient) -> None:
    record = await registered(api)

    answer = await api.get(f"/integrations/{record['id']}", headers={"If-None-Match": '"1"'})

    assert (answer.status_code, answer.content) == (304, b"")


async def test_each_change_is_told_once_in_the_audit_log_and_as_an_event(
    hub: Hub, api: httpx.AsyncClient
) -> None:
    record = await registered(api, name="one")
    await api.put(
        f"/integrations/{record['id']}",
        json={"config": a_config(project="other"), "checkIntervalSeconds": 60},
        headers=ANY_VERSION,
    )
    await api.delete(f"/integrations/{record['id']}")

    told = await audited(api)
    events = [each.body for each in await announced(hub.database)]

    names = ["integration.created", "integration.updated", "integration.deleted"]
    changed = ["checkIntervalSeconds", "config.project"]
    assert [action for action, _ in told] == names
    assert told[1][1]["changed"] == changed
    assert [event["type"] for event in events] == names
    assert events[1]["data"]["changed"] == changed
    assert {event["tenantid"] for event in events} == {"acme"}
    assert {event["subject"] for event in events} == {record["id"]}


async def test_a_change_keeps_what_is_left_out(api: httpx.AsyncClient) -> None:
    record = await registered(api, description="first", authRefUri="authref://vault/a")

    answer = await api.put(
        f"/integrations/{record['id']}", json={"description": "second"}, headers=ANY_VERSION
    )

    changed = {"description": "second", "version": 2}
    assert answer.json() == record | changed | {"updatedAt": answer.json()["updatedAt"]}
    assert answer.headers["etag"] == '"2"'


async def test_the_reference_is_removed_by_null(api: httpx.AsyncClient) -> None:
    record = await registered(api, authRefUri="authref://vault/a")

    answer = await api.put(
        f"/integrations/{record['id']}", json={"authRefUri": None}, headers=ANY_VERSION
    )

    assert answer.json()["authRefUri"] is None


async def test_no_other_field_can_be_null(api: httpx.AsyncClient) -> None:
    record = await registered(api)

    answer = await api.put(
        f"/integrations/{record['id']}", json={"name": None}, headers=ANY_VERSION
    )

    assert places(assert_problem(answer, 422, "invalid_request")) == ["/name"]


async def test_a_change_to_what_is_stored_already_changes_nothing(
    hub: Hub, api: httpx.AsyncClient
) -> None:
    record = await registered(api, tags=["a", "b"])
    await announced(hub.database)

    answer = await api.put(
        f"/integrations/{record['id']}",
        json={"name": record["name"], "config": record["config"], "tags": ["b", "a"]},
        headers=ANY_VERSION,
    )

    assert answer.json() == record
    assert await announced(hub.database) == []
    assert [action for action, _ in await audited(api)] == ["integration.created"]


async def test_a_boolean_in_place_of_a_number_is_a_change(api: httpx.AsyncClient) -> None:
    record = await registered(api, config=a_config(labels={"level": 1}))

    answer = await api.put(
        f"/integrations/{record['id']}",
        json={"config": a_config(labels={"level": True})},
        headers=ANY_VERSION,
    )

    assert answer.json()["config"]["labels"]["level"] is True


async def test_disabling_stops_the_checks_and_enabling_begins_anew(api: httpx.AsyncClient) -> None:
    record = await registered(api)
    path = f"/integrations/{record['id']}"

    disabled = (await api.put(path, json={"enabled": False}, headers=ANY_VERSION)).json()
    paused = (await api.get(f"{path}/health")).json()
    enabled = (await api.put(path, json={"enabled": True}, headers=ANY_VERSION)).json()
    resumed = (await api.get(f"{path}/health")).json()

    assert (disabled["status"], paused["nextCheckAt"]) == ("disabled", None)
    assert enabled["status"] == "unknown"
    assert resumed["nextCheckAt"] is not None


async def test_a_disabled_integration_stays_unscheduled_when_its_config_changes(
    api: httpx.AsyncClient,
) -> None:
    record = await registered(api, enabled=False)
    path = f"/integrations/{record['id']}"

    await api.put(
        path,
        json={"config": a_config(project="other"), "checkIntervalSeconds": 60},
        headers=ANY_VERSION,
    )

    health = (await api.get(f"{path}/health")).json()
    assert (health["status"], health["nextCheckAt"]) == ("disabled", None)


async def test_disabling_is_possible_when_the_plugin_is_gone(
    hub: Hub, api: httpx.AsyncClient
) -> None:
    record = await registered(api)
    async with hub.database.system_transaction() as transaction:
        await transaction.plugins.withdraw(["/plugins/registry"])
    async with running_hub(hub.database, hub.authority) as restarted:
        other = restarted.client()

        answer = await other.put(
            f"/integrations/{record['id']}", json={"enabled": False}, headers=ANY_VERSION
        )

        assert answer.status_code == 200, answer.text


async def test_a_deleted_integration_is_gone_and_its_name_is_free(api: httpx.AsyncClient) -> None:
    record = await registered(api, name="again")
    path = f"/integrations/{record['id']}"

    first = await api.delete(path)
    second = await api.delete(path)

    assert (first.status_code, first.content) == (204, b"")
    assert_problem(second, 404, "integration_not_found")
    assert_problem(await api.get(path), 404, "integration_not_found")
    assert_problem(
        await api.put(path, json={"name": "x"}, headers=ANY_VERSION), 404, "integration_not_found"
    )
    assert (await api.get("/integrations")).json()["items"] == []
    assert (await registered(api, name="again"))["name"] == "again"


async def test_a_name_is_taken_once_within_a_tenant(hub: Hub, api: httpx.AsyncClient) -> None:
    await registered(api, name="one")
    other = await registered(api, name="two")

    created = await api.post("/integrations", json=a_registration(name="one"))
    renamed = await api.put(
        f"/integrations/{other['id']}", json={"name": "one"}, headers=ANY_VERSION
    )
    elsewhere = await hub.client(tenant="globex").post(
        "/integrations", json=a_registration(name="one")
    )

    assert places(assert_problem(created, 409, "integration_name_taken")) == ["/name"]
    assert_problem(renamed, 409, "integration_name_taken")
    assert elsewhere.status_code == 201


async def test_a_commit_that_fails_is_never_answered_with_success(
    database_url: str, authority: Authority
) -> None:
    engine = open_engine(database_url, pool_size=2, application="tests")

    def refuse() -> None:
        raise DatabaseUnavailable

    class Failing(Database):
        async def _finish(self, session: Any, outbox: Any) -> None:
            if outbox.used:
                await session.flush()
                refuse()
            await super()._finish(session, outbox)

    database = Failing(engine)
    async with running_hub(database, authority) as hub:
        await hub.put_plugins("registry")
        api = hub.client()

        answer = await api.post("/integrations", json=a_registration())

        assert_problem(answer, 503, "database_unavailable")
        assert answer.headers["retry-after"] == "2"
        assert (await api.get("/integrations")).json()["items"] == []
    await database.close()


async def test_a_database_of_one_connection_serves_a_cold_registration(
    database_url: str, authority: Authority
) -> None:
    """A request that holds a connection must never wait for a second one."""
    database = Database(open_engine(database_url, pool_size=1, application="tests"))
    async with running_hub(database, authority) as hub:
        await hub.put_plugins("registry")
        api = hub.client()

        record = await registered(api)
        changed = await api.put(
            f"/integrations/{record['id']}", json={"config": a_config()}, headers=ANY_VERSION
        )
        led = await api.get("/integrations/registry")

        assert (changed.status_code, led.status_code) == (200, 307)
    await database.close()


async def test_the_bodies_of_the_description_register_with_our_own_plugins(
    hub: Hub, api: httpx.AsyncClient
) -> None:
    for folder in PLUGINS.iterdir():
        manifest = folder / "plugin.toml"
        if manifest.exists():
            read = Manifest.read(manifest.read_bytes())
            await hub.put_plugins(read.provider_type, manifest=read)

    answers = [await api.post("/integrations", json=x["value"]) for x in CREATE_BODIES.values()]
    record = answers[0].json()
    answers += [
        await api.put(f"/integrations/{record['id']}", json=x["value"], headers=ANY_VERSION)
        for x in UPDATE_BODIES.values()
    ]

    assert {answer.status_code for answer in answers} == {200, 201}


async def test_calls_are_counted_by_what_they_do(hub: Hub, api: httpx.AsyncClient) -> None:
    path = f"/integrations/{(await registered(api))['id']}"
    await api.get(path)
    await api.put(path, json={"description": "x"}, headers=ANY_VERSION)
    await api.delete(path)

    exposed = hub.metrics.exposition().decode()

    for action in ("create", "read", "update", "delete"):
        assert f'integration_crud_total{{action="{action}"}} 1.0' in exposed
