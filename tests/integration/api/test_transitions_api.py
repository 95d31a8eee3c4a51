"""Every change of an integration's status, as rows of their own."""

from typing import Any

import httpx
from tests.support.api import ANY_VERSION, Hub, assert_problem, registered
from tests.support.catalog import claim, make_due, outcome

from stella_contracts.health import ErrorCode, HealthResult
from stella_health_worker.recording import record_outcomes
from stella_runtime.persistence import Database
from stella_runtime.telemetry.metrics import Metrics

HEALTHY = HealthResult.healthy()
DOWN = HealthResult.unhealthy(ErrorCode.TLS, "The certificate expired")


async def check(database: Database, *results: HealthResult) -> None:
    """Run scheduled checks of the one integration, one after the other."""
    for result in results:
        [target] = await claim(database)
        async with database.system_transaction() as transaction:
            await record_outcomes(transaction, [outcome(target, result)], Metrics())
        await make_due(database, target.integration_id)


async def transitions(api: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(path, params=query)).raise_for_status().json()
    return found


async def test_each_change_says_from_what_to_what_and_why(hub: Hub, api: httpx.AsyncClient) -> None:
    integration = await registered(api, failureThreshold=2, successThreshold=1)
    path = f"/integrations/{integration['id']}/transitions"

    await check(hub.database, HEALTHY, HEALTHY, DOWN)
    before = await transitions(api, path)
    await check(hub.database, DOWN)
    incident = (await api.get(f"/integrations/{integration['id']}/health")).json()["incident"]["id"]
    await check(hub.database, DOWN, HEALTHY)
    after = await transitions(api, path)

    assert [each["status"] for each in before["items"]] == ["healthy"]
    assert [
        (each["previousStatus"], each["status"], each["errorCode"], each["incidentId"])
        for each in after["items"]
    ] == [
        ("unhealthy", "healthy", None, incident),
        ("healthy", "unhealthy", "tls", incident),
        ("unknown", "healthy", None, None),
    ]


async def test_switching_it_off_and_on_is_a_change_too(hub: Hub, api: httpx.AsyncClient) -> None:
    integration = await registered(api, failureThreshold=1)
    path = f"/integrations/{integration['id']}"
    await check(hub.database, DOWN)
    incident = (await api.get(f"{path}/health")).json()["incident"]["id"]

    await api.put(path, json={"enabled": False}, headers=ANY_VERSION)
    await api.put(path, json={"enabled": False}, headers=ANY_VERSION)
    await api.put(path, json={"enabled": True}, headers=ANY_VERSION)

    found = (await transitions(api, f"{path}/transitions"))["items"]
    assert [(each["previousStatus"], each["status"], each["incidentId"]) for each in found] == [
        ("disabled", "unknown", None),
        ("unhealthy", "disabled", incident),
        ("unknown", "unhealthy", incident),
    ]


async def test_they_are_read_page_by_page_and_by_time(hub: Hub, api: httpx.AsyncClient) -> None:
    integration = await registered(api, failureThreshold=1, successThreshold=1)
    path = f"/integrations/{integration['id']}/transitions"
    await check(hub.database, HEALTHY, DOWN, HEALTHY, DOWN, HEALTHY)

    pages = [await transitions(api, path, limit=2)]
    while pages[-1]["nextCursor"]:
        pages.append(await transitions(api, path, limit=2, cursor=pages[-1]["nextCursor"]))
    whole = (await transitions(api, path))["items"]
    third = whole[2]["at"]

    assert [len(page["items"]) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in page["items"]] == whole
    assert (await transitions(api, path, to=third))["items"] == whole[3:]
    assert (await transitions(api, path, **{"from": third}))["items"] == whole[:3]


async def test_a_cursor_is_good_for_its_own_listing(hub: Hub, api: httpx.AsyncClient) -> None:
    integration = await registered(api, failureThreshold=1, successThreshold=1)
    path = f"/integrations/{integration['id']}"
    await check(hub.database, HEALTHY, DOWN, HEALTHY)
    cursor = (await transitions(api, f"{path}/transitions", limit=1))["nextCursor"]

    answer = await api.get(f"{path}/health", params={"cursor": cursor})

    assert_problem(answer, 400, "malformed_cursor")
