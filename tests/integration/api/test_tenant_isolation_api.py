"""Another tenant's things are as if they did not exist."""

from typing import Any

import httpx
import pytest
from tests.support.api import ANY_VERSION, UNKNOWN_ID, Hub, registered
from tests.support.catalog import announced

CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/integrations/{id}", {}),
    ("PUT", "/integrations/{id}", {"json": {"name": "mine now"}, "headers": ANY_VERSION}),
    ("DELETE", "/integrations/{id}", {}),
    ("POST", "/integrations/{id}/health-check", {}),
    ("GET", "/integrations/{id}/health", {}),
    ("GET", "/integrations/{id}/transitions", {}),
    ("GET", "/integrations/{id}/health-checks/{check}", {}),
]


def same(answer: httpx.Response, identifier: str) -> tuple[int, str]:
    """An answer without what differs between any two: the id asked for, and the request's."""
    text = answer.text.replace(identifier, "ID")
    return answer.status_code, text.replace(answer.headers["x-request-id"], "REQUEST")


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_an_id_of_another_tenant_is_answered_like_an_unknown_one(
    hub: Hub, method: str, path: str, body: dict[str, Any]
) -> None:
    owner, stranger = hub.client(), hub.client(tenant="globex")
    theirs = (await registered(owner))["id"]
    asked = await owner.post(f"/integrations/{theirs}/health-check")
    check = asked.json()["checkId"]
    await announced(hub.database)

    found = await stranger.request(method, path.format(id=theirs, check=check), **body)
    unknown = await stranger.request(method, path.format(id=UNKNOWN_ID, check=check), **body)

    assert same(found, theirs) == same(unknown, str(UNKNOWN_ID))
    assert found.status_code == 404
    assert (await owner.get(f"/integrations/{theirs}")).json()["version"] == 1
    assert await announced(hub.database) == []


async def test_listings_hold_the_callers_own(hub: Hub) -> None:
    owner, stranger = hub.client(), hub.client(tenant="globex")
    theirs = await registered(owner, name="theirs", tags=["eu"])

    listed = [
        (await stranger.get(path)).json()["items"]
        for path in (
            "/integrations",
            "/integrations?q=theirs",
            "/integrations?tag=eu",
            "/integrations/by-type/registry",
            "/audit-logs",
            f"/audit-logs?integrationId={theirs['id']}",
        )
    ]

    assert listed == [[]] * 6
