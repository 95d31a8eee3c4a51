"""Webhooks over the API: registered, changed, tried, replayed, and seen by their tenant alone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from tests.support.api import ANY_VERSION, UNKNOWN_ID, Hub, assert_problem, audited, places
from tests.support.catalog import announced
from tests.support.events import report
from tests.support.webhooks import (
    AUTH_REF,
    IMPATIENT,
    Receiver,
    delivering,
    receiving,
    until,
)

from stella_health_worker.webhooks.rules import Rules

URL = "https://pager.test/hooks"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


async def registered(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await api.post("/webhooks", json={"url": URL, "authRefUri": AUTH_REF} | fields)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def deliveries(
    api: httpx.AsyncClient, webhook_id: str, *, count: int = 1, state: str = "delivered"
) -> list[dict[str, Any]]:
    """The newest deliveries of a state, once there are so many."""
    while True:
        answer = await api.get(f"/webhooks/{webhook_id}/deliveries", params={"state": state})
        items: list[dict[str, Any]] = answer.json()["items"]
        if len(items) >= count:
            return items
        await asyncio.sleep(0.01)


async def test_a_webhook_is_registered_read_changed_and_removed(api: httpx.AsyncClient) -> None:
    made = await api.post(
        "/webhooks",
        json={
            "url": URL,
            "authRefUri": AUTH_REF,
            "eventTypes": ["integration.alert", "integration.alert"],
            "description": "on-call",
        },
    )
    webhook = made.json()
    read = await api.get(f"/webhooks/{webhook['id']}")
    changed = await api.put(
        f"/webhooks/{webhook['id']}",
        json={"eventTypes": []},
        headers={"If-Match": made.headers["etag"]},
    )
    same = await api.put(f"/webhooks/{webhook['id']}", json={"eventTypes": []}, headers=ANY_VERSION)
    lost = await api.put(
        f"/webhooks/{webhook['id']}", json={"url": URL}, headers={"If-Match": '"1"'}
    )
    removed = await api.delete(f"/webhooks/{webhook['id']}")
    gone = await api.get(f"/webhooks/{webhook['id']}")

    assert made.headers["location"] == f"/api/v1/webhooks/{webhook['id']}"
    assert webhook["eventTypes"] == ["integration.alert"]
    assert (webhook["status"], webhook["version"], webhook["authRefUri"]) == (
        *("active", 1),
        AUTH_REF,
    )
    assert read.json() == webhook
    assert (changed.json()["eventTypes"], changed.json()["description"]) == ([], "on-call")
    assert changed.headers["etag"] == same.headers["etag"] == '"2"'
    assert_problem(lost, 412, "version_mismatch")
    assert removed.status_code == 204
    assert_problem(gone, 404, "webhook_not_found")
    assert [(action, set(details) - {"webhookId"}) for action, details in await audited(api)] == [
        ("webhook.created", {"events"}),
        ("webhook.updated", {"changed", "enabledAgain"}),
        ("webhook.updated", {"errorCode"}),
        ("webhook.deleted", set()),
    ]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        pytest.param({"url": "ftp://pager.test/"}, "/url", id="no http"),
        pytest.param({"url": "https://user:pw@pager.test/"}, "/url", id="credentials"),
        pytest.param({"url": "https:///path"}, "/url", id="no host"),
        pytest.param({"url": "https://pager.test/#x"}, "/url", id="fragment"),
        pytest.param({"url": "https://pager.test/a b"}, "/url", id="space"),
        pytest.param({"url": "https://pager.test:99999/"}, "/url", id="port"),
        pytest.param({"authRefUri": "whsec_c2VjcmV0"}, "/authRefUri", id="the secret itself"),
        pytest.param({"eventTypes": ["integration.exploded"]}, "/eventTypes/0", id="type"),
        pytest.param({"secret": "x"}, "/secret", id="unknown field"),
    ],
)
async def test_what_cannot_work_is_refused(
    api: httpx.AsyncClient, fields: dict[str, Any], place: str
) -> None:
    answer = await api.post("/webhooks", json={"url": URL, "authRefUri": AUTH_REF} | fields)

    assert places(assert_problem(answer, 422, "invalid_request")) == [place]
    assert "c2VjcmV0" not in answer.text


async def test_a_description_that_holds_a_credential_is_refused(api: httpx.AsyncClient) -> None:
    answer = await api.post(
        "/webhooks",
        json={
            "url": URL,
            "authRefUri": AUTH_REF,
            "description": "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
        },
    )

    assert places(assert_problem(answer, 422, "config_rejected")) == ["/description"]


async def test_changes_need_the_scope_to_write_and_reading_the_one_to_read(hub: Hub) -> None:
    webhook = await registered(hub.client())
    reader = hub.client(scope="integrations:read")
    path = f"/webhooks/{webhook['id']}"

    refused = [
        await reader.post("/webhooks", json={"url": URL, "authRefUri": AUTH_REF}),
        await reader.put(path, json={"enabled": False}, headers=ANY_VERSION),
        await reader.delete(path),
        await reader.post(f"{path}/test"),
        await reader.post(f"{path}/replay", json={"since": "2026-01-01T00:00:00Z"}),
        await reader.post(f"{path}/deliveries/{UNKNOWN_ID}/replay"),
        await hub.client(scope="integrations:write").get(path),
    ]
    read = [await reader.get(each) for each in ("/webhooks", path, f"{path}/deliveries")]

    for answer in refused:
        assert_problem(answer, 403, "scope_missing")
    assert [answer.status_code for answer in read] == [200] * 3


async def test_another_tenants_webhook_is_as_unknown_as_any(hub: Hub, receiver: Receiver) -> None:
    owner, stranger = hub.client(), hub.client(tenant="globex")
    theirs = await registered(owner, url=f"{receiver.url}/a")
    await owner.post(f"/webhooks/{theirs['id']}/test")
    async with delivering(hub.database):
        [delivery] = await deliveries(owner, theirs["id"])
    own = await registered(stranger)
    calls: list[tuple[str, str, Any]] = [
        ("GET", "/webhooks/{id}", None),
        ("PUT", "/webhooks/{id}", {"url": "https://stranger.test/"}),
        ("DELETE", "/webhooks/{id}", None),
        ("POST", "/webhooks/{id}/test", None),
        ("POST", "/webhooks/{id}/replay", {"since": "2026-01-01T00:00:00Z"}),
        ("GET", "/webhooks/{id}/deliveries", None),
        ("GET", "/webhooks/{id}/deliveries/{delivery}", None),
        ("POST", "/webhooks/{id}/deliveries/{delivery}/replay", None),
    ]

    for method, path, body in calls:
        answers = []
        for identifier in (theirs["id"], str(UNKNOWN_ID), "no-uuid"):
            url = path.format(id=identifier, delivery=delivery["id"])
            answer = await stranger.request(method, url, json=body, headers=ANY_VERSION)
            assert_problem(answer, 404, "webhook_not_found")
            answers.append(
                answer.text.replace(identifier, "ID").replace(answer.headers["x-request-id"], "R")
            )
        assert len(set(answers)) == 1, (method, path)
    for method, path in (("GET", ""), ("POST", "/replay")):
        answer = await stranger.request(
            method, f"/webhooks/{own['id']}/deliveries/{delivery['id']}{path}"
        )
        assert_problem(answer, 404, "delivery_not_found")

    listed = (await stranger.get("/webhooks")).json()["items"]
    assert [each["id"] for each in listed] == [own["id"]]
    after = (await owner.get(f"/webhooks/{theirs['id']}")).json()
    assert (after["url"], after["version"]) == (f"{receiver.url}/a", 1)
    assert len(receiver.calls["/a"]) == 1


async def test_listings_are_paged_and_their_cursors_are_of_one_listing(
    hub: Hub, api: httpx.AsyncClient
) -> None:
    made = [(await registered(api))["id"] for _ in range(5)]
    stranger = hub.client(tenant="globex")
    first = (await api.get("/webhooks", params={"limit": 2})).json()
    found = [each["id"] for each in first["items"]]
    cursor = first["nextCursor"]
    while cursor is not None:
        page = (await api.get("/webhooks", params={"limit": 2, "cursor": cursor})).json()
        found += [each["id"] for each in page["items"]]
        cursor = page["nextCursor"]
    strangers = await stranger.get("/webhooks", params={"cursor": first["nextCursor"]})
    elsewhere = await api.get(
        f"/webhooks/{made[0]}/deliveries", params={"cursor": first["nextCursor"]}
    )

    assert found == made
    assert_problem(strangers, 400, "malformed_cursor")
    assert_problem(elsewhere, 400, "malformed_cursor")


async def test_a_tenant_has_so_many_webhooks_and_no_more(
    api: httpx.AsyncClient, database_url: str
) -> None:
    await registered(api)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into webhooks (id, tenant_id, url, auth_ref_uri)"
            " select gen_random_uuid(), 'acme', 'https://x.test/', 'authref://vault/x'"
            " from generate_series(1, 99)"
        )

    answer = await api.post("/webhooks", json={"url": URL, "authRefUri": AUTH_REF})

    assert_problem(answer, 429, "too_many_webhooks")


async def test_a_test_event_goes_to_that_webhook_alone_and_its_log_tells_how_it_went(
    api: httpx.AsyncClient, hub: Hub, receiver: Receiver
) -> None:
    webhook = await registered(api, url=f"{receiver.url}/a", eventTypes=["integration.alert"])
    await registered(api, url=f"{receiver.url}/b")
    asked = await api.post(f"/webhooks/{webhook['id']}/test")
    async with delivering(hub.database):
        [delivery] = await deliveries(api, webhook["id"])
    one = await api.get(f"/webhooks/{webhook['id']}/deliveries/{delivery['id']}")

    assert (asked.status_code, asked.json()["state"]) == (202, "pending")
    assert delivery["id"] == asked.json()["id"]
    assert one.json() == delivery
    assert delivery["eventType"] == "webhook.test"
    [attempt] = delivery["attempts"]
    assert (attempt["statusCode"], attempt["error"]) == (204, None)
    assert attempt["latencyMs"] >= 0
    assert receiver.calls["/a"][0].event["data"]["reason"] == "test"
    assert receiver.calls["/b"] == []
    assert await announced(hub.database) == []


async def test_what_was_delivered_can_be_replayed_with_the_same_id(
    api: httpx.AsyncClient, hub: Hub, receiver: Receiver
) -> None:
    webhook = await registered(api, url=f"{receiver.url}/a")
    await report(hub.database, "a")
    async with delivering(hub.database):
        [delivery] = await deliveries(api, webhook["id"])
        again = await api.post(f"/webhooks/{webhook['id']}/deliveries/{delivery['id']}/replay")
        await until(lambda: len(receiver.accepted["/a"]) == 2)
        [after] = await deliveries(api, webhook["id"])

    assert (again.status_code, again.json()["state"]) == (202, "pending")
    first, second = receiver.calls["/a"]
    assert (first.id, first.event) == (second.id, second.event)
    assert after["id"] == delivery["id"]


async def test_what_failed_since_a_moment_can_be_replayed_at_once(
    api: httpx.AsyncClient, hub: Hub, receiver: Receiver
) -> None:
    receiver.answers("/a", 500)
    webhook = await registered(api, url=f"{receiver.url}/a")
    path = f"/webhooks/{webhook['id']}/replay"
    begin = datetime.now(UTC) - timedelta(minutes=1)
    await report(hub.database, "a", "b")
    hopeless = Rules(retry_seconds=[], pause_seconds=0.001, longest_pause_seconds=0.001)
    async with delivering(hub.database, rules=hopeless):
        await deliveries(api, webhook["id"], count=2, state="failed")
        receiver.answers("/a", 204)
        future = await api.post(path, json={"since": "2100-01-01T00:00:00Z"})
        failed = await api.post(path, json={"since": begin.isoformat()})
        await deliveries(api, webhook["id"], count=2)
        nothing = await api.post(path, json={"since": begin.isoformat()})
        everything = await api.post(path, json={"since": begin.isoformat(), "onlyFailed": False})
        await until(lambda: len(receiver.accepted["/a"]) == 4)

    assert [each.json() for each in (future, failed, nothing, everything)] == [
        {"replayed": count, "more": False} for count in (0, 2, 0, 2)
    ]
    assert sorted(receiver.names("/a")) == ["a", "a", "b", "b"]


async def test_one_that_its_owner_disabled_is_neither_tested_nor_replayed(
    api: httpx.AsyncClient,
) -> None:
    webhook = await registered(api, enabled=False)

    tested = await api.post(f"/webhooks/{webhook['id']}/test")
    replayed = await api.post(
        f"/webhooks/{webhook['id']}/replay", json={"since": "2026-01-01T00:00:00Z"}
    )

    assert webhook["status"] == "disabled"
    assert_problem(tested, 422, "webhook_disabled")
    assert_problem(replayed, 422, "webhook_disabled")


async def test_one_that_we_disabled_can_be_enabled_by_its_owner(
    api: httpx.AsyncClient, hub: Hub, receiver: Receiver
) -> None:
    receiver.answers("/a", 410)
    webhook = await registered(api, url=f"{receiver.url}/a")
    await report(hub.database, "a")
    async with delivering(hub.database, rules=IMPATIENT):
        await deliveries(api, webhook["id"], state="failed")
        gone = (await api.get(f"/webhooks/{webhook['id']}")).json()
        receiver.answers("/a", 204)
        enabled = await api.put(
            f"/webhooks/{webhook['id']}", json={"enabled": True}, headers=ANY_VERSION
        )
        await report(hub.database, "b")
        await deliveries(api, webhook["id"])

    assert (gone["status"], gone["disabledReason"], gone["enabled"]) == ("disabled", "gone", True)
    assert (enabled.json()["status"], enabled.json()["disabledReason"]) == ("active", None)
    assert receiver.names("/a") == ["b"]
