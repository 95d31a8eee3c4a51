"""The API in the test's own process, on a real database, with tokens signed here."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stella_api.app import Api
from stella_api.settings import ApiSettings
from stella_runtime.operations import serving
from stella_runtime.persistence import Database
from stella_runtime.telemetry.metrics import Metrics
from tests.support.builders import a_plugin, a_registration
from tests.support.catalog import TENANT
from tests.support.documented import DocumentedBus

ISSUER = "https://authority.test"
AUDIENCE = "stella-integrations"
SCOPES = "integrations:read integrations:write integrations:operate integrations:admin"

ANY_VERSION = {"If-Match": "*"}
"""For a change whatever is there."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass
class Authority:
    """Signs tokens, and publishes the keys to check them with."""

    keys: dict[str, PrivateKey]
    is_away: bool = False
    requests: int = 0
    url: str = ""

    def token(
        self,
        *,
        key_id: str = "rsa",
        headers: Mapping[str, Any] | None = None,
        signed_with: PrivateKey | None = None,
        **claims: Any,
    ) -> str:
        """A good token, but for the claims given: None leaves one out."""
        now = int(time.time())
        values: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "alice",
            "tenant": TENANT,
            "scope": SCOPES,
            "exp": now + 600,
        } | claims
        key = signed_with or self.keys[key_id]
        return jwt.encode(
            {name: value for name, value in values.items() if value is not None},
            key,
            algorithm="RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256",
            headers={"kid": key_id, **(headers or {})},
        )

    def public_keys(self) -> list[dict[str, Any]]:
        return [{**jwk_of(key), "kid": key_id, "use": "sig"} for key_id, key in self.keys.items()]


def jwk_of(key: PrivateKey, *, private: bool = False) -> dict[str, Any]:
    """A key as a JSON Web Key (RFC 7517), its public part unless told otherwise."""
    algorithm: Any = (
        jwt.algorithms.RSAAlgorithm
        if isinstance(key, rsa.RSAPrivateKey)
        else jwt.algorithms.ECAlgorithm
    )
    found: dict[str, Any] = algorithm.to_jwk(key if private else key.public_key(), as_dict=True)
    return found


@asynccontextmanager
async def published(authority: Authority) -> AsyncIterator[Authority]:
    """Serve the authority's keys on loopback."""

    async def keys(_: Request) -> Response:
        authority.requests += 1
        if authority.is_away:
            return JSONResponse({}, status_code=503)
        return JSONResponse({"keys": authority.public_keys()})

    app = Starlette(routes=[Route("/jwks", keys)])
    async with serving(app, host="127.0.0.1", port=0, drain_seconds=1) as port:
        authority.url = f"http://127.0.0.1:{port}/jwks"
        yield authority


@pytest.fixture(scope="session")
def signing_keys() -> dict[str, PrivateKey]:
    """One of each kind. Made once: an RSA key takes its time."""
    return {
        "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ec": ec.generate_private_key(ec.SECP256R1()),
    }


@pytest.fixture
async def authority(signing_keys: dict[str, PrivateKey]) -> AsyncIterator[Authority]:
    async with published(Authority(dict(signing_keys))) as running:
        yield running


@dataclass
class Hub:
    """The application, and clients of it."""

    application: FastAPI
    authority: Authority
    database: Database
    bus: DocumentedBus
    metrics: Metrics
    running: asyncio.Task[None]
    """What the application does beside its requests."""
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def client(self, *, authorization: str | None = None, **claims: Any) -> httpx.AsyncClient:
        """A client with a token of its own; `authorization` replaces the whole header."""
        if authorization is None:
            authorization = f"Bearer {self.authority.token(**claims)}"
        client = httpx.AsyncClient(
            # What the application lets escape fails the test.
            transport=httpx.ASGITransport(self.application, raise_app_exceptions=True),
            base_url="http://hub.test/api/v1",
            headers={"Authorization": authorization} if authorization else {},
            timeout=30,
        )
        self.clients.append(client)
        return client

    async def stop(self) -> None:
        """End that, which is what a signal does first."""
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running

    async def put_plugins(self, *types: str, **fields: Any) -> None:
        """Register plugins as a scan does."""
        async with self.database.system_transaction() as transaction:
            for provider_type in types:
                await transaction.plugins.put(a_plugin(provider_type, **fields))


@asynccontextmanager
async def running_hub(
    database: Database, authority: Authority, **settings: Any
) -> AsyncIterator[Hub]:
    """Serve the API on a database, over a bus of this process."""
    values: dict[str, Any] = {
        "database_url": "postgresql://unused",
        "amqp_url": "amqp://unused",
        "jwks_url": authority.url,
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "cursor_key": "a key for tests, thirty-two characters",
    } | settings
    metrics = Metrics()
    async with DocumentedBus() as bus:
        api = Api(ApiSettings(**values), database, bus, metrics)
        running = asyncio.create_task(api.run())
        hub = Hub(api.application, authority, database, bus, metrics, running)
        try:
            yield hub
        finally:
            for client in hub.clients:
                await client.aclose()
            await hub.stop()
        assert bus.problems == []


@pytest.fixture
async def hub(database: Database, authority: Authority) -> AsyncIterator[Hub]:
    """The API with the plugin `registry`."""
    async with running_hub(database, authority) as running:
        await running.put_plugins("registry")
        yield running


@pytest.fixture
async def api(hub: Hub) -> httpx.AsyncClient:
    """Alice of the tenant `acme`, who may do everything."""
    return hub.client()


async def registered(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    """Register an integration, which must be accepted."""
    answer = await api.post("/integrations", json=a_registration(**fields))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def everything(api: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """Every item of a listing, page by page."""
    found: list[dict[str, Any]] = []
    while True:
        page = (await api.get("/integrations", params=query)).raise_for_status().json()
        found += page["items"]
        if page["nextCursor"] is None:
            return found
        query["cursor"] = page["nextCursor"]


async def audited(api: httpx.AsyncClient) -> list[tuple[str, dict[str, Any]]]:
    """The audit log, oldest first."""
    items = (await api.get("/audit-logs")).raise_for_status().json()["items"]
    return [(each["action"], each["details"]) for each in reversed(items)]


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is a problem of this status and code. Returns its document."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:stella:problem:{code}", document
    assert document["status"] == status
    assert document["requestId"] == answer.headers["x-request-id"]
    return document


def places(document: dict[str, Any]) -> list[str]:
    """Where a problem says that something is wrong."""
    return [each.get("pointer", each.get("parameter")) for each in document.get("errors", [])]


UNKNOWN_ID = UUID("01980000-0000-7000-8000-000000000000")
