"""What callers do to integrations that are out, that flap, or that are being checked."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.support.api import ANY_VERSION, Hub, registered
from tests.support.catalog import claim, outcome
from tests.support.checking import REFUSED, WELL, check, names, play, record, told

FIELDS = {"failureThreshold": 1, "successThreshold": 1}


async def registered_many(api: httpx.AsyncClient, number: int, **fields: Any) -> list[UUID]:
    return [
        UUID((await registered(api, name=f"tool-{each}", **FIELDS, **fields))["id"])
        for each in range(number)
    ]


async def health(api: httpx.AsyncClient, integration_id: UUID) -> dict[str, Any]:
    answer = await api.get(f"/integrations/{integration_id}/health")
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def end(api: httpx.AsyncClient, how: str, integration_id: UUID) -> None:
    path = f"/integrations/{integration_id}"
    answer = await (
        api.delete(path)
        if how == "delete"
        else api.put(path, json={"enabled": False}, headers=ANY_VERSION)
    )
    answer.raise_for_status()


@pytest.mark.parametrize("how", ["delete", "disable"])
async def test_who_ends_a_flapping_integration_ends_its_flapping_and_its_alert(
    hub: Hub, api: httpx.AsyncClient, how: str
) -> None:
    [integration_id] = await registered_many(api, 1)
    await play(hub.database, integration_id, [WELL] * 10 + [REFUSED])
    assert names(await told(hub.database, "integration.alert")) == ["alert.opened"]
    await play(hub.database, integration_id, [WELL, REFUSED] * 3)
    assert (await health(api, integration_id))["flapping"]
    await told(hub.database)

    await end(api, how, integration_id)

    events = [
        each for each in await told(hub.database) if "alert" in each.event or "health" in each.event
    ]
    assert names(events) == ["health.stable"]
    assert events[0].body["data"]["status"] == "disabled"


@pytest.mark.parametrize("how", ["delete", "disable"])
async def test_the_last_part_of_an_incident_in_common_that_is_ended_ends_it(
    hub: Hub, api: httpx.AsyncClient, how: str
) -> None:
    ids = await registered_many(api, 3)
    await check(hub.database, *ids, finds=REFUSED)
    [opened] = await told(hub.database, "integration.alert")
    assert (await health(api, ids[0]))["incident"]["parentId"] == opened.body["subject"]

    for integration_id in ids[:2]:
        await end(api, how, integration_id)
    assert await told(hub.database, "integration.alert") == []
    await end(api, how, ids[2])

    [resolved] = await told(hub.database, "integration.alert")
    assert (resolved.event, resolved.body["subject"]) == (
        "integration.alert.resolved",
        opened.body["subject"],
    )


@pytest.mark.parametrize("how", ["delete", "disable"])
async def test_what_is_ended_while_it_is_checked_is_not_out_again(
    hub: Hub, api: httpx.AsyncClient, how: str
) -> None:
    [integration_id] = await registered_many(api, 1)
    await check(hub.database, integration_id, finds=REFUSED)
    await told(hub.database)
    await check(hub.database, integration_id, finds=REFUSED)
    async with hub.database.transaction("acme") as transaction:
        await transaction.schedule.make_due(integration_id)
    [running] = await claim(hub.database)

    await end(api, how, integration_id)
    await record(hub.database, outcome(running, REFUSED))

    assert names(await told(hub.database, "integration.alert")) == ["alert.resolved"]


async def test_since_and_last_healthy_are_of_the_status_and_not_of_the_last_check(
    hub: Hub, api: httpx.AsyncClient
) -> None:
    integration = await registered(api)
    integration_id = UUID(integration["id"])
    await play(hub.database, integration_id, [WELL])
    healthy = await health(api, integration_id)

    await play(hub.database, integration_id, [REFUSED, REFUSED])
    doubtful = await health(api, integration_id)
    await play(hub.database, integration_id, [REFUSED])
    out = await health(api, integration_id)
    await play(hub.database, integration_id, [REFUSED, WELL])
    recovering = await health(api, integration_id)

    assert healthy["since"] == healthy["lastHealthyAt"] == healthy["lastCheck"]["checkedAt"]
    assert (doubtful["status"], doubtful["since"]) == ("healthy", healthy["since"])
    assert doubtful["lastHealthyAt"] == healthy["lastHealthyAt"]
    assert (out["status"], out["since"]) == ("unhealthy", out["lastCheck"]["checkedAt"])
    assert out["lastHealthyAt"] == healthy["lastHealthyAt"]
    assert (recovering["status"], recovering["since"]) == ("unhealthy", out["since"])
    assert recovering["lastHealthyAt"] == recovering["lastCheck"]["checkedAt"]
    assert recovering["incident"]["id"] == out["incident"]["id"]
