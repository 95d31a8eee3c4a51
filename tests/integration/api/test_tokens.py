"""Who may call: tokens of the issuer, for us, for a tenant, with the scope."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.support.api import (
    SCOPES,
    UNKNOWN_ID,
    Authority,
    Hub,
    assert_problem,
    jwk_of,
    running_hub,
)

from stella_api.keys import GOOD_FOR_SECONDS, Keys
from stella_contracts.errors import KeysUnavailable
from stella_runtime.persistence import Database


def unsigned(authority: Authority) -> str:
    """`alg: none`, which PyJWT would not write."""
    _, body, _ = authority.token().split(".")
    header = json.dumps({"alg": "none", "kid": "rsa"}).encode()
    return f"{base64.urlsafe_b64encode(header).rstrip(b'=').decode()}.{body}."


def signed_with_the_public_key(authority: Authority) -> str:
    """HS256, with the published key as if it were a shared secret."""
    public = (
        authority.keys["rsa"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    _, body, _ = authority.token().split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa"}').rstrip(b"=").decode()
    key = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = key.sign(f"{header}.{body}".encode(), public)
    return f"{header}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def altered(authority: Authority) -> str:
    head, body, signature = authority.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    other = json.dumps(claims | {"tenant": "globex"}).encode()
    return f"{head}.{base64.urlsafe_b64encode(other).rstrip(b'=').decode()}.{signature}"


def with_two_tenants(authority: Authority) -> str:
    """Signed by the issuer, over a document that two readers may read in two ways."""
    body = json.dumps(jwt.decode(authority.token(), options={"verify_signature": False}))
    payload = body.replace('"tenant"', '"tenant": "globex", "tenant"').encode()
    return jwt.PyJWS().encode(payload, authority.keys["ec"], "ES256", headers={"kid": "ec"})


def deeply_nested(text: str) -> str:
    """A token whose header is JSON that exhausts a reader that recurses."""
    return f"{base64.urlsafe_b64encode(text.encode()).rstrip(b'=').decode()}.e30.e30"


def now() -> int:
    return int(time.time())


BAD_TOKENS: dict[str, Callable[[Authority], str]] = {
    "nothing": lambda _: "",
    "another scheme": lambda _: "Basic YWxpY2U6aHVudGVyMg==",
    "no token": lambda _: "Bearer",
    "rubbish": lambda _: "Bearer rubbish",
    "rubbish in three parts": lambda _: "Bearer a.b.c",
    "no ASCII": lambda _: "Bearer é.é.é",
    "100 KB": lambda _: "Bearer " + "a" * 100_000,
    "a header of 5,000 levels": lambda _: f"Bearer {deeply_nested('[' * 5000)}",
    "two tenant claims": lambda a: f"Bearer {with_two_tenants(a)}",
    "alg none": lambda a: f"Bearer {unsigned(a)}",
    "HS256 with the public key": lambda a: f"Bearer {signed_with_the_public_key(a)}",
    "altered": lambda a: f"Bearer {altered(a)}",
    "another audience": lambda a: f"Bearer {a.token(aud='billing')}",
    "no audience": lambda a: f"Bearer {a.token(aud=None)}",
    "another issuer": lambda a: f"Bearer {a.token(iss='https://evil.test')}",
    "no issuer": lambda a: f"Bearer {a.token(iss=None)}",
    "expired": lambda a: f"Bearer {a.token(exp=now() - 120)}",
    "no expiry": lambda a: f"Bearer {a.token(exp=None)}",
    "endless expiry": lambda a: f"Bearer {a.token(exp=float('1e999'))}",
    "not good yet": lambda a: f"Bearer {a.token(nbf=now() + 600)}",
    "no subject": lambda a: f"Bearer {a.token(sub=None)}",
    "a subject with NUL": lambda a: f"Bearer {a.token(sub=chr(0))}",
    "an empty subject": lambda a: f"Bearer {a.token(sub='')}",
    "unknown key": lambda a: f"Bearer {a.token(headers={'kid': 'stranger'})}",
    "another key of the issuer": lambda a: f"Bearer {a.token(headers={'kid': 'ec'})}",
    "a key of somebody else": lambda a: (
        f"Bearer {a.token(signed_with=ec.generate_private_key(ec.SECP256R1()), key_id='ec')}"
    ),
}
BAD_TENANTS: dict[str, Any] = {
    "empty": "",
    "upper case": "Acme",
    "with a dot": "acme.eu",
    "two": ["acme", "globex"],
    "a number": 7,
    "the system's own": "_system",
    "a line end": "acme\n",
}


@pytest.mark.parametrize("make", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
async def test_a_bad_token_is_refused(hub: Hub, make: Callable[[Authority], str]) -> None:
    api = hub.client(authorization="")
    authorization = make(hub.authority).encode("utf-8")

    headers = {b"Authorization": authorization} if authorization else {}
    answer = await api.get("/integrations", headers=headers)

    assert_problem(answer, 401, "token_rejected")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("tenant", BAD_TENANTS.values(), ids=BAD_TENANTS.keys())
async def test_a_token_that_names_no_one_tenant_is_refused(hub: Hub, tenant: Any) -> None:
    answer = await hub.client(tenant=tenant).get("/integrations")

    assert "'tenant'" in assert_problem(answer, 401, "token_rejected")["detail"]


async def test_a_good_token_without_a_tenant_may_do_nothing(hub: Hub) -> None:
    answer = await hub.client(tenant=None).get("/integrations")

    assert "'tenant'" in assert_problem(answer, 403, "tenant_missing")["detail"]


async def test_two_tokens_are_none(hub: Hub) -> None:
    api = hub.client(authorization="")
    tokens = [hub.authority.token(), hub.authority.token(tenant="globex")]

    answer = await api.get(
        "/integrations", headers=[("Authorization", f"Bearer {token}") for token in tokens]
    )

    assert_problem(answer, 401, "token_rejected")


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({}, id="RS256"),
        pytest.param({"key_id": "ec"}, id="ES256"),
        pytest.param({"aud": ["other", "stella-integrations"]}, id="one of two audiences"),
        pytest.param({"exp": -30}, id="expired within the leeway"),
        pytest.param({"nbf": -5}, id="good by now"),
    ],
)
async def test_a_good_token_is_taken(hub: Hub, claims: dict[str, Any]) -> None:
    moments = {name: now() + claims[name] for name in claims.keys() & {"exp", "nbf"}}

    answer = await hub.client(**claims | moments).get("/integrations")

    assert answer.status_code == 200, answer.text


async def test_no_other_header_says_who_is_calling(hub: Hub) -> None:
    headers = {"X-Tenant-Id": "globex", "X-User": "bob", "X-Forwarded-User": "bob"}
    await hub.client().post("/plugins/discover", headers=headers)

    entries = (await hub.client().get("/audit-logs", headers=headers)).json()["items"]

    assert [entry["actor"] for entry in entries] == ["alice"]


SOME_ID = f"/integrations/{UNKNOWN_ID}"
A_WEBHOOK = f"/webhooks/{UNKNOWN_ID}"
ROUTES = [
    ("GET", "/integrations", "read"),
    ("GET", "/integrations/by-type/registry", "read"),
    ("GET", SOME_ID, "read"),
    ("GET", f"{SOME_ID}/health", "read"),
    ("GET", f"{SOME_ID}/health-checks/{UNKNOWN_ID}", "read"),
    ("GET", "/plugins", "read"),
    ("GET", "/plugins/registry", "read"),
    ("POST", "/integrations", "write"),
    ("PUT", SOME_ID, "write"),
    ("DELETE", SOME_ID, "write"),
    ("POST", f"{SOME_ID}/health-check", "operate"),
    ("POST", "/plugins/discover", "admin"),
    ("POST", "/integrations/plugins/discover", "admin"),
    ("POST", "/integrations/test", "write"),
    ("POST", "/integrations/import", "write"),
    ("GET", "/integrations/export", "read"),
    ("GET", "/audit-logs", "admin"),
    ("GET", "/audit-logs/verify", "admin"),
    ("GET", "/audit-logs/export", "admin"),
    ("GET", f"{SOME_ID}/transitions", "read"),
    ("GET", "/events?follow=false", "read"),
    ("GET", "/mutes", "read"),
    ("POST", "/mutes", "operate"),
    ("DELETE", f"/mutes/{UNKNOWN_ID}", "operate"),
    ("GET", "/webhooks", "read"),
    ("POST", "/webhooks", "write"),
    ("GET", A_WEBHOOK, "read"),
    ("PUT", A_WEBHOOK, "write"),
    ("DELETE", A_WEBHOOK, "write"),
    ("POST", f"{A_WEBHOOK}/test", "write"),
    ("POST", f"{A_WEBHOOK}/replay", "write"),
    ("GET", f"{A_WEBHOOK}/deliveries", "read"),
    ("GET", f"{A_WEBHOOK}/deliveries/{UNKNOWN_ID}", "read"),
    ("POST", f"{A_WEBHOOK}/deliveries/{UNKNOWN_ID}/replay", "write"),
]


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
async def test_every_route_needs_its_scope(hub: Hub, method: str, path: str, scope: str) -> None:
    name = f"integrations:{scope}"
    without = " ".join(each for each in SCOPES.split() if each != name)
    body: dict[str, Any] = {"json": {}} if method in {"POST", "PUT"} else {}
    if path.endswith("/import"):
        body = {"content": b"", "headers": {"Content-Type": "application/x-ndjson"}}

    refused = await hub.client(scope=without).request(method, path, **body)
    allowed = await hub.client(scope=name).request(method, path, **body)

    assert name in assert_problem(refused, 403, "scope_missing")["detail"]
    assert allowed.status_code not in {401, 403}


async def test_the_table_above_has_every_route(hub: Hub) -> None:
    paths = hub.application.openapi()["paths"]
    described = sum(len(methods) for methods in paths.values())

    # The second path of the scan is not described.
    assert len(ROUTES) - 1 == described


async def eventually(hub: Hub, *, status: int) -> None:
    """Ask until the answer has a status."""
    async with asyncio.timeout(20):
        while True:
            answer = await hub.client().get("/integrations")
            if answer.status_code == status:
                return
            await asyncio.sleep(0.1)


@dataclass
class Clock:
    """Seconds that pass when the test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class TestKeys:
    async def test_an_unknown_key_fetches_the_keys_once_a_minute(self, hub: Hub) -> None:
        await hub.client().get("/integrations")
        before = hub.authority.requests

        for number in range(20):
            client = hub.client(headers={"kid": f"stranger-{number}"})
            assert (await client.get("/integrations")).status_code == 401

        assert hub.authority.requests - before <= 1

    async def test_known_keys_go_on_working_while_the_issuer_is_away(self, hub: Hub) -> None:
        await hub.client().get("/integrations")
        hub.authority.is_away = True

        known = await hub.client(sub="bob").get("/integrations")
        unknown = await hub.client(headers={"kid": "stranger"}).get("/integrations")

        assert known.status_code == 200
        assert unknown.status_code == 401

    async def test_known_keys_wait_for_no_issuer_that_hangs(self) -> None:
        """The first who finds them stale asks for new ones; the others go on."""
        asked, answered = asyncio.Event(), asyncio.Event()
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        key_set = {"keys": [{**jwk_of(key), "kid": "rsa"}]}

        async def issuer(_: httpx.Request) -> httpx.Response:
            if clock.now:
                asked.set()
                await answered.wait()
            return httpx.Response(200, json=key_set)

        clock = Clock()
        http = httpx.AsyncClient(transport=httpx.MockTransport(issuer))
        keys = Keys("https://authority.test/jwks", http, clock=clock)
        await keys.get("rsa")
        clock.now += GOOD_FOR_SECONDS + 1
        first = asyncio.create_task(keys.get("rsa"))
        await asked.wait()

        assert (await keys.get("rsa")).key_id == "rsa"
        assert not first.done()
        answered.set()
        assert (await first).key_id == "rsa"

    async def test_a_key_set_without_end_is_not_read_to_its_end(self) -> None:
        read = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 1
                yield b" " * 65536

        async def issuer(_: httpx.Request) -> httpx.Response:
            return httpx.Response(200, content=endless())

        keys = Keys("https://a.test", httpx.AsyncClient(transport=httpx.MockTransport(issuer)))

        with pytest.raises(KeysUnavailable):
            await keys.get("rsa")
        assert read < 10

    async def test_without_any_key_the_caller_is_told_to_come_back(
        self, database: Database, authority: Authority
    ) -> None:
        authority.is_away = True
        async with running_hub(database, authority) as hub:
            away = await hub.client().get("/integrations")
            authority.is_away = False

            assert_problem(away, 503, "keys_unavailable")
            assert away.headers["retry-after"] == "2"
            await eventually(hub, status=200)

    async def test_many_at_once_fetch_the_keys_once(
        self, database: Database, authority: Authority
    ) -> None:
        async with running_hub(database, authority) as hub:
            clients = [hub.client(sub=f"user-{number}") for number in range(20)]

            answers = await asyncio.gather(*(each.get("/integrations") for each in clients))

            assert {answer.status_code for answer in answers} == {200}
            assert authority.requests == 1

    async def test_many_at_once_ask_an_issuer_that_is_away_once(
        self, database: Database, authority: Authority
    ) -> None:
        authority.is_away = True
        async with running_hub(database, authority) as hub:
            clients = [hub.client(sub=f"user-{number}") for number in range(20)]

            answers = await asyncio.gather(*(each.get("/integrations") for each in clients))

            assert {answer.status_code for answer in answers} == {503}
            assert authority.requests == 1

    async def test_a_new_key_is_taken_when_a_token_first_names_it(
        self, database: Database, authority: Authority
    ) -> None:
        async with running_hub(database, authority) as hub:
            authority.keys["next"] = ec.generate_private_key(ec.SECP256R1())

            answer = await hub.client(key_id="next").get("/integrations")

            assert answer.status_code == 200

    async def test_keys_of_other_kinds_are_passed_over(
        self, database: Database, authority: Authority
    ) -> None:
        short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        other = ec.generate_private_key(ec.SECP384R1())
        authority.keys |= {"short": short, "p384": other}
        async with running_hub(database, authority) as hub:
            good = await hub.client().get("/integrations")

            assert good.status_code == 200, good.text


async def test_a_body_is_not_judged_before_the_caller_is_known(hub: Hub) -> None:
    api: httpx.AsyncClient = hub.client(authorization="")

    answer = await api.post("/integrations", json={"nonsense": True})

    assert_problem(answer, 401, "token_rejected")
