"""Behind a gateway its signed assertion says who is calling, and nothing else does."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.api import Authority, Hub, assert_problem, registered, running_hub
from tests.support.gateway import Exchange, running_exchange, running_nginx

from stella_api.authentication import ASSERTION_HEADER
from stella_runtime.operations import serving
from stella_runtime.persistence import Database


@pytest.fixture
async def exchange(authority: Authority) -> AsyncIterator[Exchange]:
    async with running_exchange(authority) as running:
        yield running


@pytest.fixture
async def hub(database: Database, authority: Authority, exchange: Exchange) -> AsyncIterator[Hub]:
    """The API as it is behind a gateway."""
    async with running_hub(database, authority, **exchange.settings) as running:
        await running.put_plugins("registry")
        yield running


BAD: dict[str, Callable[[Exchange], str]] = {
    "of somebody else's key": lambda e: Exchange(
        e.authority, ec.generate_private_key(ec.SECP256R1())
    ).assertion(),
    "for another audience": lambda e: e.assertion(aud="stella-integrations"),
    "from another issuer": lambda e: e.assertion(iss="https://authority.test"),
    "expired": lambda e: e.assertion(iat=int(time.time()) - 200, exp=int(time.time()) - 100),
    "good for an hour": lambda e: e.assertion(exp=int(time.time()) + 3600),
    "of unknown age": lambda e: e.assertion(iat=None),
    "the caller's token": lambda e: e.authority.token(),
    "rubbish": lambda _: "alice",
}


class TestAssertion:
    async def test_it_says_who_is_calling(self, hub: Hub, exchange: Exchange) -> None:
        api = hub.client(authorization="")

        answer = await api.get("/integrations", headers={ASSERTION_HEADER: exchange.assertion()})
        beyond = await api.get("/audit-logs", headers={ASSERTION_HEADER: exchange.assertion()})

        assert answer.status_code == 200
        assert_problem(beyond, 403, "scope_missing")

    @pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
    async def test_a_bad_one_is_refused(
        self, hub: Hub, exchange: Exchange, make: Callable[[Exchange], str]
    ) -> None:
        api = hub.client(authorization="")

        answer = await api.get("/integrations", headers={ASSERTION_HEADER: make(exchange)})

        assert_problem(answer, 401, "token_rejected")

    async def test_two_are_none(self, hub: Hub, exchange: Exchange) -> None:
        both = [exchange.assertion(), exchange.assertion(tenant="globex")]

        answer = await hub.client(authorization="").get(
            "/integrations", headers=[(ASSERTION_HEADER, each) for each in both]
        )

        assert_problem(answer, 401, "token_rejected")

    async def test_neither_a_token_nor_a_plain_header_stands_in_for_it(self, hub: Hub) -> None:
        plain = {"X-Tenant-Id": "acme", "X-User": "alice", "X-Forwarded-User": "alice"}

        answer = await hub.client().get("/integrations", headers=plain)

        assert_problem(answer, 401, "token_rejected")

    async def test_without_a_gateway_it_says_nothing(
        self, database: Database, authority: Authority, exchange: Exchange
    ) -> None:
        async with running_hub(database, authority) as direct:
            answer = await direct.client(authorization="").get(
                "/integrations", headers={ASSERTION_HEADER: exchange.assertion()}
            )

            assert_problem(answer, 401, "token_rejected")


class TestNginx:
    """As `deploy/gateway/nginx.conf` has it."""

    @pytest.fixture
    async def url(self, hub: Hub, exchange: Exchange) -> AsyncIterator[str]:
        async with (
            serving(hub.application, host="127.0.0.1", port=0, drain_seconds=1) as port,
            running_nginx(hub_port=port, exchange=exchange) as address,
        ):
            yield f"{address}/api/v1"

    def client(self, hub: Hub, url: str, **claims: Any) -> httpx.AsyncClient:
        """A caller of the gateway with a token of the Authority."""
        client = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {hub.authority.token(**claims)}"}
        )
        hub.clients.append(client)
        return client

    async def test_a_token_is_exchanged_for_an_assertion(self, hub: Hub, url: str) -> None:
        record = await registered(self.client(hub, url))

        mine = await self.client(hub, url).get("/integrations")
        theirs = await self.client(hub, url, tenant="globex").get("/integrations")

        assert [each["id"] for each in mine.json()["items"]] == [record["id"]]
        assert theirs.json()["items"] == []

    async def test_what_a_caller_says_of_itself_is_overwritten(
        self, hub: Hub, url: str, exchange: Exchange
    ) -> None:
        """Not even an assertion that is good otherwise comes through: it may have been seen."""
        await registered(self.client(hub, url))
        spoofed = [
            (ASSERTION_HEADER, exchange.assertion()),
            (ASSERTION_HEADER.upper(), exchange.assertion()),
            (ASSERTION_HEADER.replace("-", "_"), exchange.assertion()),
            ("X-Tenant-Id", "acme"),
        ]
        stranger = self.client(hub, url, tenant="globex")

        answer = await stranger.get("/integrations", headers=spoofed)

        assert (answer.status_code, answer.json()["items"]) == (200, [])

    async def test_without_a_good_token_nothing_comes_through(
        self, hub: Hub, url: str, exchange: Exchange
    ) -> None:
        stranger = self.client(hub, url, exp=int(time.time()) - 300)

        answer = await stranger.get(
            "/integrations", headers={ASSERTION_HEADER: exchange.assertion()}
        )

        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:stella:problem:token_rejected"
        assert answer.headers["www-authenticate"].startswith("Bearer")
