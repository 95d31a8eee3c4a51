"""A gateway that terminates tokens: a real nginx by our own configuration, and what it asks."""

import asyncio
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stella_api.authentication import ASSERTION_HEADER
from stella_runtime.operations import serving
from tests.support.api import AUDIENCE, ISSUER, Authority, jwk_of
from tests.support.ports import free_port

GATEWAY_ISSUER = "https://gateway.test"
GATEWAY_AUDIENCE = "stella-integrations-behind-the-gateway"

_NGINX = Path("/usr/sbin/nginx")
_CONFIGURATION = Path("deploy/gateway/nginx.conf")


@dataclass
class Exchange:
    """Gives the gateway's assertion for a caller's token."""

    authority: Authority
    key: ec.EllipticCurvePrivateKey
    url: str = ""

    def assertion(self, **claims: Any) -> str:
        """An assertion about alice of acme, but for the claims given: None leaves one out."""
        now = int(time.time())
        values: dict[str, Any] = {
            "iss": GATEWAY_ISSUER,
            "aud": GATEWAY_AUDIENCE,
            "sub": "alice",
            "tenant": "acme",
            "scope": "integrations:read integrations:write",
            "iat": now,
            "exp": now + 60,
        } | claims
        present = {name: value for name, value in values.items() if value is not None}
        return jwt.encode(present, self.key, algorithm="ES256", headers={"kid": "gateway"})

    async def judge(self, request: Request) -> Response:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        key = self.authority.keys["rsa"].public_key()
        try:
            claims = jwt.decode(token, key, ["RS256"], audience=AUDIENCE, issuer=ISSUER)
        except jwt.PyJWTError:
            return Response(status_code=401)
        passed_on = {name: claims[name] for name in ("sub", "tenant", "scope")}
        return Response(status_code=204, headers={ASSERTION_HEADER: self.assertion(**passed_on)})

    async def publish(self, _: Request) -> Response:
        return JSONResponse({"keys": [jwk_of(self.key) | {"kid": "gateway", "use": "sig"}]})

    @property
    def settings(self) -> dict[str, str]:
        """What the hub is told of it."""
        return {
            "identity": "gateway",
            "gateway_jwks_url": f"{self.url}/jwks",
            "gateway_issuer": GATEWAY_ISSUER,
            "gateway_audience": GATEWAY_AUDIENCE,
        }


@asynccontextmanager
async def running_exchange(authority: Authority) -> AsyncIterator[Exchange]:
    """The service that nginx asks, with a key of its own."""
    exchange = Exchange(authority, ec.generate_private_key(ec.SECP256R1()))
    app = Starlette(routes=[Route("/jwks", exchange.publish), Route("/_exchange", exchange.judge)])
    async with serving(app, host="127.0.0.1", port=0, drain_seconds=1) as port:
        exchange.url = f"http://127.0.0.1:{port}"
        yield exchange


@asynccontextmanager
async def running_nginx(*, hub_port: int, exchange: Exchange) -> AsyncIterator[str]:
    """An nginx by `deploy/gateway/nginx.conf`, with the ports of the test. Yields its address."""
    if not _NGINX.exists():
        pytest.fail(f"No nginx in {_NGINX}. Run tests/support/install-servers.sh.")
    port = free_port()
    site = _CONFIGURATION.read_text()
    for ours, theirs in (
        ("127.0.0.1:8080", f"127.0.0.1:{hub_port}"),
        ("127.0.0.1:9000", exchange.url.removeprefix("http://")),
        ("127.0.0.1:8000", f"127.0.0.1:{port}"),
    ):
        assert site.count(ours) == 1
        site = site.replace(ours, theirs)
    with tempfile.TemporaryDirectory(prefix="stella-nginx-") as folder:
        configuration = Path(folder) / "nginx.conf"
        configuration.write_text(_whole(folder, site))
        process = await asyncio.create_subprocess_exec(
            str(_NGINX), "-c", str(configuration), "-p", folder, stdout=DEVNULL, stderr=DEVNULL
        )
        try:
            await _listening(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()


def _whole(folder: str, site: str) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    return (
        "daemon off; master_process off;\n"
        f"pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}{site}}}\n"
    )


async def _listening(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(20), httpx.AsyncClient() as http:
        while process.returncode is None:
            try:
                await http.get(f"http://127.0.0.1:{port}/")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
    pytest.fail(f"nginx ended with {process.returncode}.")
