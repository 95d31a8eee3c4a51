"""What every answer says, to browsers and to whoever asks too often."""

import httpx
import pytest
from tests.support.api import Authority, Hub, assert_problem, registered, running_hub

from stella_runtime.persistence import Database


async def test_a_tenant_that_asks_too_often_is_told_when_to_come_back(
    database: Database, authority: Authority
) -> None:
    async with running_hub(database, authority, tenant_requests_per_minute=2) as hub:
        loud, quiet = hub.client(), hub.client(tenant="globex")

        answers = [await loud.get("/integrations") for _ in range(2)]
        refused = await loud.get("/integrations")
        # Another caller of the tenant shares its quota, another tenant does not.
        colleague = await hub.client(sub="bob").get("/plugins")
        others = await quiet.get("/integrations")

        assert {answer.status_code for answer in answers} == {200}
        assert answers[0].headers["ratelimit-policy"] == '"tenant";q=2;w=60'
        assert answers[0].headers["ratelimit"].startswith('"tenant";r=1;t=')
        assert_problem(refused, 429, "too_many_requests")
        assert 0 < int(refused.headers["retry-after"]) <= 30
        assert refused.headers["ratelimit"] == f'"tenant";r=0;t={refused.headers["retry-after"]}'
        assert colleague.status_code == 429
        assert others.status_code == 200


async def test_what_is_not_authenticated_uses_up_nobodys_quota(
    database: Database, authority: Authority
) -> None:
    async with running_hub(database, authority, tenant_requests_per_minute=2) as hub:
        stranger = hub.client(aud="billing")
        for _ in range(5):
            assert (await stranger.get("/integrations")).status_code == 401

        assert (await hub.client().get("/integrations")).status_code == 200


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_no_page_of_another_origin_may_read_an_answer(
    api: httpx.AsyncClient, method: str
) -> None:
    headers = {"Origin": "https://evil.test", "Access-Control-Request-Method": "GET"}

    answer = await api.request(method, "/integrations", headers=headers)

    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_every_answer_tells_browsers_to_do_nothing_with_it(
    hub: Hub, api: httpx.AsyncClient
) -> None:
    answers = [
        await api.get("/integrations"),
        await api.get("/nothing"),
        await api.post("/integrations", content="{"),
        await hub.client(authorization="").get("/integrations"),
        await api.get(f"/integrations/{(await registered(api))['id']}"),
    ]

    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
