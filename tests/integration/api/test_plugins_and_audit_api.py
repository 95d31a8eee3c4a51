"""The plugin catalog, asking for a scan, and the audit log."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
from tests.support.api import Hub, assert_problem, places, registered
from tests.support.builders import REGISTRY_SCHEMA, a_registration

from stella_contracts.messages import Finished
from stella_contracts.plugins import PluginState, ScanSummary
from stella_runtime.ids import new_id
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.topology import DISCOVER, REPLIES


async def scans(hub: Hub) -> list[dict[str, Any]]:
    """The scans that were asked for and not handed on."""
    return [
        orjson.loads(each.message.body)
        for each in await hub.database.claim(100)
        if each.message.routing_key == DISCOVER
    ]


class TestPlugins:
    async def test_a_plugin_is_shown_with_the_schema_of_its_config(
        self, api: httpx.AsyncClient
    ) -> None:
        plugin = (await api.get("/plugins/registry")).json()

        assert plugin["configSchema"] == REGISTRY_SCHEMA
        assert (plugin["state"], plugin["trust"]) == ("ready", "built_in")
        assert plugin["defaultIntervalSeconds"] == 120

    async def test_those_that_cannot_be_used_are_listed_with_the_reason(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        await hub.put_plugins("mirror", state=PluginState.REFUSED, last_error="It is untrusted.")

        items = (await api.get("/plugins")).json()["items"]

        found = {each["type"]: (each["state"], each["lastError"]) for each in items}
        assert found == {"mirror": ("refused", "It is untrusted."), "registry": ("ready", None)}

    async def test_one_that_cannot_be_used_takes_no_integration_and_says_why(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        await hub.put_plugins("mirror", state=PluginState.REFUSED, last_error="It is untrusted.")

        answer = await api.post("/integrations", json=a_registration(type="mirror"))

        document = assert_problem(answer, 422, "plugin_not_ready")
        assert "It is untrusted." in document["detail"]
        assert places(document) == ["/type"]

    async def test_one_that_was_registered_a_moment_ago_can_be_used(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        await registered(api)
        await hub.put_plugins("mirror")

        assert (await registered(api, type="mirror"))["type"] == "mirror"

    async def test_a_type_that_nobody_provides_is_not_found(self, api: httpx.AsyncClient) -> None:
        assert_problem(await api.get("/plugins/mainframe"), 404, "plugin_not_found")


class TestScan:
    @pytest.mark.parametrize("path", ["/plugins/discover", "/integrations/plugins/discover"])
    async def test_a_scan_is_asked_for_and_audited(
        self, hub: Hub, api: httpx.AsyncClient, path: str
    ) -> None:
        answer = await api.post(path, headers={"X-Request-ID": "mine"})

        entry = (await api.get("/audit-logs")).json()["items"][0]
        assert answer.status_code == 202
        assert await scans(hub) == [{"scanId": answer.json()["scanId"], "requestId": "mine"}]
        assert (entry["action"], entry["requestId"]) == ("plugins.discovery_requested", "mine")

    async def test_who_waits_gets_what_it_has_changed(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        call = asyncio.create_task(api.post("/plugins/discover", headers={"Prefer": "wait=20"}))
        asked: list[dict[str, Any]] = []
        async with asyncio.timeout(20):
            while not asked:
                asked = await scans(hub)
        scan_id = UUID(asked[0]["scanId"])
        summary = ScanSummary(
            scan_id=scan_id, found=1, registered=["a"], updated=[], removed=[], failed=[]
        )
        body = Finished(id=scan_id, outcome=summary.model_dump(mode="json"))

        await hub.bus.publish(
            Message(str(new_id()), REPLIES, str(scan_id), body.model_dump_json().encode())
        )

        answer = await call
        assert answer.status_code == 200
        assert answer.json() == summary.model_dump(mode="json")
        assert answer.headers["preference-applied"] == "wait=20"

    async def test_who_waited_in_vain_knows_the_scan(self, api: httpx.AsyncClient) -> None:
        answer = await api.post("/plugins/discover", headers={"Prefer": "wait=1"})

        assert (answer.status_code, list(answer.json())) == (202, ["scanId"])


class TestAudit:
    async def test_an_entry_says_who_did_what_when_in_which_request(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        answer = await hub.client(sub="bob").post(
            "/integrations", json=a_registration(), headers={"X-Request-ID": "mine"}
        )

        (entry,) = (await api.get("/audit-logs")).json()["items"]

        assert entry == entry | {
            "actor": "bob",
            "action": "integration.created",
            "integrationId": answer.json()["id"],
            "requestId": "mine",
            "outcome": "success",
        }
        written = datetime.fromisoformat(entry["timestamp"])
        assert abs(datetime.now(UTC) - written) < timedelta(minutes=5)

    async def test_entries_are_paged_from_the_newest(self, api: httpx.AsyncClient) -> None:
        made = [(await registered(api))["id"] for _ in range(5)]

        found: list[str] = []
        query: dict[str, Any] = {"limit": 2}
        while True:
            page = (await api.get("/audit-logs", params=query)).json()
            found += [each["integrationId"] for each in page["items"]]
            if page["nextCursor"] is None:
                break
            query["cursor"] = page["nextCursor"]

        assert found == made[::-1]

    async def test_filters_narrow(self, hub: Hub, api: httpx.AsyncClient) -> None:
        one = await registered(hub.client(sub="bob"))
        two = await registered(api)
        await api.delete(f"/integrations/{two['id']}")
        an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()

        async def count(**query: str) -> int:
            answer = await api.get("/audit-logs", params=query)
            return len(answer.raise_for_status().json()["items"])

        assert await count(integrationId=one["id"]) == 1
        assert await count(actor="bob") == 1
        assert await count(action="integration.deleted") == 1
        assert await count(actor="alice", action="integration.created") == 1
        assert await count(**{"from": an_hour_ago}, actor="bob") == 1
        assert await count(to=an_hour_ago) == 0

    async def test_the_log_is_verified(self, hub: Hub, api: httpx.AsyncClient) -> None:
        await registered(api)
        await registered(hub.client(tenant="globex"))

        found = (await api.get("/audit-logs/verify")).json()

        assert (found["intact"], found["entries"], found["sequence"]) == (True, 1, 1)
