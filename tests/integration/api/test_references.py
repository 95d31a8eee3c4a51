"""References to secrets: which may be named, and who sees how much of them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.support.api import Authority, Hub, assert_problem, places, registered, running_hub
from tests.support.builders import a_registration

from stella_runtime.persistence import Database

ANY_VERSION = {"If-Match": "*"}
MINE = "authref://vault/ci/acme/harbor#robot"
FOREIGN = "authref://vault/ci/globex/harbor#robot"


@pytest.fixture
async def hub(database: Database, authority: Authority) -> AsyncIterator[Hub]:
    policy = {"acme": ["vault/ci/acme"]}
    async with running_hub(database, authority, authref_policy=policy) as running:
        await running.put_plugins("registry")
        yield running


def a_webhook(reference: str) -> dict[str, Any]:
    return {"url": "https://receiver.test/in", "authRefUri": reference}


async def test_a_reference_beyond_the_policy_cannot_be_registered(
    api: httpx.AsyncClient,
) -> None:
    answer = await api.post("/integrations", json=a_registration(authRefUri=FOREIGN))

    document = assert_problem(answer, 422, "config_rejected")
    assert places(document) == ["/authRefUri"]
    assert "vault/ci/acme" in document["errors"][0]["detail"]
    assert (await api.get("/integrations")).json()["items"] == []


async def test_nor_can_one_be_changed_to_it(api: httpx.AsyncClient) -> None:
    record = await registered(api, authRefUri=MINE)

    answer = await api.put(
        f"/integrations/{record['id']}", json={"authRefUri": FOREIGN}, headers=ANY_VERSION
    )

    assert_problem(answer, 422, "config_rejected")
    assert (await api.get(f"/integrations/{record['id']}")).json()["authRefUri"] == MINE


async def test_nor_may_a_webhook_be_signed_with_it(api: httpx.AsyncClient) -> None:
    refused = await api.post("/webhooks", json=a_webhook(FOREIGN))
    taken = await api.post("/webhooks", json=a_webhook(MINE))
    changed = await api.put(
        f"/webhooks/{taken.json()['id']}", json={"authRefUri": FOREIGN}, headers=ANY_VERSION
    )

    assert places(assert_problem(refused, 422, "config_rejected")) == ["/authRefUri"]
    assert_problem(changed, 422, "config_rejected")


@pytest.mark.parametrize(
    ("scope", "seen"),
    [
        ("integrations:read", "authref://vault/…"),
        ("integrations:read integrations:operate", MINE),
        ("integrations:read integrations:write", MINE),
    ],
)
async def test_who_may_only_read_sees_the_vault_alone(
    hub: Hub, api: httpx.AsyncClient, scope: str, seen: str
) -> None:
    record = await registered(api, authRefUri=MINE)
    webhook = (await api.post("/webhooks", json=a_webhook(MINE))).json()
    reader = hub.client(scope=scope)

    one = (await reader.get(f"/integrations/{record['id']}")).json()
    (listed,) = (await reader.get("/integrations")).json()["items"]
    (of_type,) = (await reader.get("/integrations/by-type/registry")).json()["items"]
    hook = (await reader.get(f"/webhooks/{webhook['id']}")).json()
    (hooks,) = (await reader.get("/webhooks")).json()["items"]

    assert {each["authRefUri"] for each in (one, listed, of_type, hook, hooks)} == {seen}
