"""Mutes and maintenance windows: who may make them, and what they select."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.support.api import UNKNOWN_ID, Hub, assert_problem, audited, places, registered

HOUR = timedelta(hours=1)


def body(**fields: Any) -> dict[str, Any]:
    end = (datetime.now(UTC) + HOUR).isoformat()
    return {"reason": "Upgrade", "endsAt": end} | fields


def ahead(**time: float) -> str:
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


async def muted_until(api: httpx.AsyncClient, integration: dict[str, Any]) -> str | None:
    answer = await api.get(f"/integrations/{integration['id']}/health")
    found: str | None = answer.raise_for_status().json()["mutedUntil"]
    return found


async def test_a_mute_is_listed_shown_audited_and_ended(hub: Hub, api: httpx.AsyncClient) -> None:
    integration = await registered(api)

    made = await api.post("/mutes", json=body(integrationId=integration["id"]))

    assert made.status_code == 201, made.text
    mute = made.json()
    assert (mute["createdBy"], mute["reason"]) == ("alice", "Upgrade")
    assert (await api.get("/mutes")).json() == {"items": [mute], "nextCursor": None}
    assert await muted_until(api, integration) == mute["endsAt"]
    assert (await api.delete(f"/mutes/{mute['id']}")).status_code == 204
    assert (await api.get("/mutes")).json()["items"] == []
    assert await muted_until(api, integration) is None
    assert_problem(await api.delete(f"/mutes/{mute['id']}"), 404, "mute_not_found")
    *_, made_entry, ended_entry, refused_entry = await audited(api)
    assert (made_entry[0], ended_entry[0]) == ("mute.created", "mute.deleted")
    assert ended_entry[1]["reason"] == "Upgrade"
    assert refused_entry == (
        "mute.deleted",
        {"errorCode": "mute_not_found", "muteId": mute["id"]},
    )


@pytest.mark.parametrize(
    ("selectors", "is_muted"),
    [
        pytest.param({}, True, id="everything"),
        pytest.param({"type": "registry"}, True, id="its type"),
        pytest.param({"tag": "eu"}, True, id="its tag"),
        pytest.param({"type": "registry", "tag": "eu"}, True, id="both"),
        pytest.param({"type": "registry", "tag": "us"}, False, id="one of both"),
        pytest.param({"type": "harbor"}, False, id="another type"),
        pytest.param({"startsAt": "later"}, False, id="a window that has not begun"),
    ],
)
async def test_an_integration_is_muted_by_what_all_selectors_say(
    api: httpx.AsyncClient, selectors: dict[str, str], is_muted: bool
) -> None:
    integration = await registered(api, tags=["eu", "ci"])
    if "startsAt" in selectors:
        selectors = {"startsAt": ahead(minutes=10)}

    (await api.post("/mutes", json=body(**selectors))).raise_for_status()

    assert (await muted_until(api, integration) is not None) == is_muted
    assert len((await api.get("/mutes")).json()["items"]) == 1


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        pytest.param({"endsAt": ahead(hours=-1)}, "/endsAt", id="over already"),
        pytest.param({"endsAt": ahead(days=91)}, "/endsAt", id="too long"),
        pytest.param(
            {"startsAt": ahead(hours=3), "endsAt": ahead(hours=2)}, "/endsAt", id="backwards"
        ),
        pytest.param(
            {"startsAt": ahead(days=400), "endsAt": ahead(days=401)}, "/startsAt", id="too far"
        ),
        pytest.param(
            {"integrationId": str(UNKNOWN_ID)}, "/integrationId", id="no such integration"
        ),
        pytest.param({"reason": "ghp_" + "a1B2" * 9}, "/reason", id="a credential in the reason"),
    ],
)
async def test_what_cannot_be_muted_is_refused_with_its_place(
    api: httpx.AsyncClient, fields: dict[str, str], place: str
) -> None:
    answer = await api.post("/mutes", json=body(**fields))

    assert places(assert_problem(answer, 422, "mute_rejected")) == [place]


@pytest.mark.parametrize("missing", ["reason", "endsAt"])
async def test_a_mute_has_a_reason_and_an_end(api: httpx.AsyncClient, missing: str) -> None:
    answer = await api.post("/mutes", json={k: v for k, v in body().items() if k != missing})

    assert places(assert_problem(answer, 422, "invalid_request")) == [f"/{missing}"]


async def test_another_tenant_neither_sees_nor_ends_nor_makes_it(
    hub: Hub, api: httpx.AsyncClient
) -> None:
    integration = await registered(api)
    mute = (await api.post("/mutes", json=body(tag="eu"))).json()
    stranger = hub.client(tenant="globex")

    assert (await stranger.get("/mutes")).json()["items"] == []
    assert_problem(await stranger.delete(f"/mutes/{mute['id']}"), 404, "mute_not_found")
    answer = await stranger.post("/mutes", json=body(integrationId=integration["id"]))
    assert_problem(answer, 422, "mute_rejected")
    (await stranger.post("/mutes", json=body())).raise_for_status()
    assert await muted_until(api, integration) is None


async def test_muting_needs_the_scope_to_operate(hub: Hub) -> None:
    reader = hub.client(scope="integrations:read integrations:write")

    assert (await reader.get("/mutes")).status_code == 200
    assert_problem(await reader.post("/mutes", json=body()), 403, "scope_missing")
    assert_problem(await reader.delete(f"/mutes/{UNKNOWN_ID}"), 403, "scope_missing")


async def test_mutes_are_paged(api: httpx.AsyncClient) -> None:
    made = [(await api.post("/mutes", json=body(tag=f"t{n}"))).json()["id"] for n in range(3)]

    first = (await api.get("/mutes", params={"limit": 2})).json()
    second = (await api.get("/mutes", params={"limit": 2, "cursor": first["nextCursor"]})).json()

    assert [each["id"] for each in first["items"] + second["items"]] == made[::-1]
    assert second["nextCursor"] is None
