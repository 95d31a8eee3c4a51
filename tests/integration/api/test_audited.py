"""What the audit log tells: what was done, with which values, what was refused, and who read it."""

from typing import Any

import httpx
import orjson
import pytest
from tests.support.api import ANY_VERSION, UNKNOWN_ID, Hub, audited, registered
from tests.support.builders import a_registration

from stella_api.audit.refusals import ACTIONS

READING = {("GET", path) for path in ("/audit-logs", "/audit-logs/verify", "/audit-logs/export")}


async def newest(hub: Hub, *, tenant: str = "acme") -> dict[str, Any]:
    answer = await hub.client(tenant=tenant).get("/audit-logs", params={"limit": 1})
    found: dict[str, Any] = answer.raise_for_status().json()["items"][0]
    return found


async def exported(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    answer = (await client.get("/audit-logs/export", params=query)).raise_for_status()
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [orjson.loads(line) for line in answer.content.splitlines()]


async def test_a_change_is_told_with_its_values(api: httpx.AsyncClient) -> None:
    record = await registered(api, tags=["eu"])
    config = record["config"] | {"project": "one"}

    await api.put(
        f"/integrations/{record['id']}",
        json={"tags": ["us"], "config": config, "authRefUri": "authref://vault/b"},
        headers=ANY_VERSION,
    )

    _, (_, details) = await audited(api)
    assert details["changed"] == ["authRefUri", "config.project", "tags"]
    assert details["values"] == {
        "authRefUri": {"from": record["authRefUri"], "to": "authref://vault/b"},
        "config.project": {"from": "library", "to": "one"},
        "tags": {"from": ["eu"], "to": ["us"]},
    }


async def test_a_long_value_is_left_out(api: httpx.AsyncClient) -> None:
    record = await registered(api, description="")

    await api.put(
        f"/integrations/{record['id']}", json={"description": "x" * 1000}, headers=ANY_VERSION
    )

    _, (_, details) = await audited(api)
    assert details["values"] == {"description": {"from": "", "to": "(too long)"}}


class TestRefusals:
    async def test_a_lost_race_is_told(self, hub: Hub, api: httpx.AsyncClient) -> None:
        record = await registered(api)

        await api.put(
            f"/integrations/{record['id']}", json={"name": "x"}, headers={"If-Match": '"9"'}
        )

        entry = await newest(hub)
        assert (entry["action"], entry["outcome"]) == ("integration.updated", "refused")
        assert entry["integrationId"] == record["id"]
        assert entry["details"] == {"errorCode": "version_mismatch"}

    async def test_a_missing_scope_is_told(self, hub: Hub) -> None:
        caller = hub.client(sub="eve", scope="integrations:read")

        await caller.delete(f"/integrations/{UNKNOWN_ID}", headers={"X-Request-ID": "hers"})

        entry = await newest(hub)
        assert (entry["actor"], entry["action"], entry["outcome"], entry["requestId"]) == (
            *("eve", "integration.deleted", "refused", "hers"),
        )
        assert entry["details"] == {"errorCode": "scope_missing"}

    async def test_a_body_that_breaks_its_schema_is_told_without_it(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        await api.post("/integrations", json=a_registration(tags=["hunter2 "]))

        entry = await newest(hub)
        assert (entry["action"], entry["details"]) == (
            *("integration.created", {"errorCode": "invalid_request"}),
        )

    async def test_a_refused_credential_is_not_repeated(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        await api.post("/integrations", json=a_registration(config={"password": "hunter2-canary"}))

        entry = await newest(hub)
        assert entry["details"]["errorCode"] == "config_rejected"
        assert "hunter2-canary" not in str(entry)

    async def test_another_tenants_id_is_told_to_who_asked_alone(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        theirs = await registered(hub.client(tenant="globex"))

        await api.delete(f"/integrations/{theirs['id']}")

        ours, others = await newest(hub), await newest(hub, tenant="globex")
        assert (ours["outcome"], ours["integrationId"]) == ("refused", theirs["id"])
        assert others["action"] == "integration.created"

    async def test_what_else_was_named_is_told(self, hub: Hub, api: httpx.AsyncClient) -> None:
        await api.delete(f"/mutes/{UNKNOWN_ID}")

        entry = await newest(hub)
        assert entry["action"] == "mute.deleted"
        assert entry["details"] == {"errorCode": "mute_not_found", "muteId": str(UNKNOWN_ID)}

    async def test_reading_the_catalog_leaves_nothing(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        await api.get(f"/integrations/{UNKNOWN_ID}")

        assert await audited(api) == []

    def test_every_route_that_changes_something_is_audited(self, hub: Hub) -> None:
        description = hub.application.openapi()
        routes = {
            (method.upper(), path.removeprefix("/api/v1"))
            for path, operations in description["paths"].items()
            for method in operations
            if path.startswith("/api/v1/")
        }

        changing = {route for route in routes if route[0] != "GET"}
        assert changing | READING <= ACTIONS.keys()


class TestReading:
    @pytest.mark.parametrize(
        ("path", "action", "details"),
        [
            ("/audit-logs?actor=bob", "audit.read", {"actor": "bob", "entries": 0}),
            ("/audit-logs/verify", "audit.verified", {"intact": True}),
            ("/audit-logs/export?action=x", "audit.exported", {"action": "x"}),
        ],
    )
    async def test_who_reads_the_log_is_in_it(
        self, hub: Hub, path: str, action: str, details: dict[str, Any]
    ) -> None:
        await hub.client(sub="carol").get(path)

        entry = await newest(hub)
        assert (entry["actor"], entry["action"], entry["details"]) == ("carol", action, details)


class TestExport:
    async def test_it_is_the_chain_in_its_order(self, hub: Hub, api: httpx.AsyncClient) -> None:
        for _ in range(3):
            await registered(api)
        await registered(hub.client(tenant="globex"))

        lines = await exported(api)

        found = (await api.get("/audit-logs/verify")).json()
        assert [each["sequence"] for each in lines] == [1, 2, 3, 4]
        assert [each["action"] for each in lines[2:]] == ["integration.created", "audit.exported"]
        assert lines[-1]["hash"] == found["hash"]

    async def test_filters_narrow_it(self, hub: Hub, api: httpx.AsyncClient) -> None:
        mine = await registered(hub.client(sub="bob"))
        await registered(api)

        lines = await exported(api, actor="bob")

        assert [each["integrationId"] for each in lines] == [mine["id"]]

    async def test_it_goes_on_beyond_a_page(self, hub: Hub, api: httpx.AsyncClient) -> None:
        async with hub.database.transaction("acme") as transaction:
            for number in range(1100):
                transaction.audit_logs.add("x", actor="alice", request_id=str(number))

        lines = await exported(api)

        assert [each["sequence"] for each in lines] == list(range(1, 1102))
