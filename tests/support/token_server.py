"""A token service of the distribution specification, whose tokens a real registry takes."""

import base64
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import jwt
from aiohttp import BasicAuth, web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.certificates import ServerCertificate
from tests.support.docker_registry import PASSWORD, USER

LIFE_SECONDS = 300


@dataclass(slots=True)
class TokenServer:
    """A running service."""

    url: str
    logins: list[str | None] = field(default_factory=list)
    """The header Authorization of each request."""

    queries: list[dict[str, str]] = field(default_factory=list)


@asynccontextmanager
async def token_server(
    certificate: ServerCertificate, *, issuer: str = "test-issuer"
) -> AsyncIterator[TokenServer]:
    """
    Serve until the block ends. Who gives a wrong password gets none, who gives no password an
    anonymous one. The certificate signs.
    """
    found = x509.load_pem_x509_certificate(certificate.certificate)
    chain = [base64.b64encode(found.public_bytes(Encoding.DER)).decode()]
    server = TokenServer("")

    async def answer(request: web.Request) -> web.Response:
        login = request.headers.get("Authorization")
        server.logins.append(login)
        server.queries.append(dict(request.query))
        if login is not None and not _is_right(login):
            return web.json_response({"details": "incorrect username or password"}, status=401)
        now = int(time.time())
        claims = {
            "iss": issuer,
            "sub": USER if login else "",
            "aud": request.query.get("service", ""),
            "exp": now + LIFE_SECONDS,
            "nbf": now - 10,
            "iat": now,
            "jti": "1",
            "access": _granted(request.query.get("scope")),
        }
        token = jwt.encode(claims, certificate.key, "ES256", headers={"x5c": chain})
        return web.json_response({"token": token, "expires_in": LIFE_SECONDS})

    application = web.Application()
    application.router.add_get("/token", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()


def _granted(scope: str | None) -> list[dict[str, object]]:
    if not scope:
        return []
    kind, name, actions = scope.split(":")
    return [{"type": kind, "name": name, "actions": actions.split(",")}]


def _is_right(login: str) -> bool:
    given = BasicAuth.decode(login)
    return given.login == USER and hmac.compare_digest(given.password, PASSWORD)
