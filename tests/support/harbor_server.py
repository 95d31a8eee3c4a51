"""
A Harbor-speaking server that can be broken, over real sockets.

In a test, `async with harbor_server() as harbor:` and set `harbor.state`. By hand,
`python -m tests.support.harbor_server --port 8080` and
`curl -X POST localhost:8080/control -H 'Content-Type: application/json' -d '{"state": "error"}'`.
"""

import argparse
import asyncio
import hmac
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from aiohttp import BasicAuth, web

from tests.support.certificates import ServerCertificate

ROBOT = "robot$stella+ci"
USER = "admin"
PASSWORD = "Harbor12345"  # Harbor's own default
SLOW_SECONDS = 1.0

_COMPONENTS = ("core", "portal", "jobservice", "registry", "registryctl", "database", "redis")


class State(StrEnum):
    """What the server does with a request."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """A component that is not vital is down: jobservice."""
    COMPONENT_DOWN = "component-down"
    """A vital component is down: redis. Harbor answers 200 all the same."""
    READ_ONLY = "read-only"
    ERROR = "error"
    UNAUTHORIZED = "unauthorized"
    """Every credential is wrong. As in Harbor, only what needs a login answers 401."""
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate-limited"
    LOGIN_PAGE = "login-page"
    """A page in HTML behind a 200, as a single sign-on in front would send."""
    SLOW = "slow"
    """Healthy, a second late."""
    HANG = "hang"
    """Takes requests and answers none."""


@dataclass(slots=True)
class HarborServer:
    """A running server. Setting `state` counts from the next request on."""

    url: str = ""
    """Without a slash at its end."""
    certificate: ServerCertificate | None = None
    password: str = PASSWORD
    """Of the robot and the user; may be changed while it runs."""
    _state: State = State.HEALTHY
    requests: int = 0
    """How many there were, those to /control not counted."""
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of the last hundred of them, in small letters."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by the first of them."""

    @property
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, value: str) -> None:
        self._state = State(value)


@asynccontextmanager
async def harbor_server(
    state: str = State.HEALTHY,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    certificate: ServerCertificate | None = None,
) -> AsyncIterator[HarborServer]:
    """Serve until the block ends. Port 0 takes a free one; a certificate makes it HTTPS."""
    server = HarborServer(certificate=certificate)
    server.state = state
    # Cancelled with its client, so that a request that hangs does not outlive it.
    runner = web.AppRunner(
        _application(server), handler_cancellation=True, shutdown_timeout=0.1, access_log=None
    )
    await runner.setup()
    try:
        context = certificate.server_context() if certificate else None
        site = web.TCPSite(runner, host, port, ssl_context=context)
        await site.start()
        taken = runner.addresses[0][1]
        server.url = f"{'https' if certificate else 'http'}://{host}:{taken}"
        yield server
    finally:
        await runner.cleanup()


def _application(server: HarborServer) -> web.Application:
    async def control(request: web.Request) -> web.Response:
        try:
            wanted = json.loads(await request.text())
            server.state = wanted["state"]
        except (ValueError, KeyError, TypeError):
            accepted = {"state": list(State)}
            return web.json_response({"accepted": accepted}, status=422)
        return web.json_response({"state": server.state})

    async def provider(request: web.Request) -> web.Response:
        server.requests += 1
        server.headers.append({name.lower(): each for name, each in request.headers.items()})
        del server.headers[:-100]
        server.asked.set()
        return await _answer(server, request)

    application = web.Application(client_max_size=64 * 1024)
    application.router.add_post("/control", control)
    application.router.add_route("*", "/{path:.*}", provider)
    return application


async def _answer(server: HarborServer, request: web.Request) -> web.Response:
    match server.state:
        case State.HANG:
            await asyncio.Event().wait()
        case State.SLOW:
            await asyncio.sleep(SLOW_SECONDS)
        case State.ERROR:
            return _errors(500, "UNKNOWN", "internal server error")
        case State.FORBIDDEN:
            return _errors(403, "FORBIDDEN", "forbidden")
        case State.RATE_LIMITED:
            answer = _errors(429, "TOO_MANY_REQUEST", "slow down")
            answer.headers["Retry-After"] = "120"
            return answer
        case State.LOGIN_PAGE:
            return web.Response(text="<title>Sign in</title>", content_type="text/html")
    match request.method, request.path:
        case "GET", "/api/v2.0/health":
            return web.json_response(_report(server.state))
        case "GET", "/api/v2.0/users/current":
            return _current_user(_who(server, request))
        case "GET", "/api/v2.0/systeminfo":
            return web.json_response(_system_info(server, _who(server, request)))
    return _errors(404, "NOT_FOUND", "not found")


def _report(state: str) -> dict[str, Any]:
    down = {State.DEGRADED: "jobservice", State.COMPONENT_DOWN: "redis"}.get(State(state))
    return {
        "status": "unhealthy" if down else "healthy",
        "components": [
            {"name": name, "status": "unhealthy", "error": "connection refused"}
            if name == down
            else {"name": name, "status": "healthy"}
            for name in _COMPONENTS
        ],
    }


def _who(server: HarborServer, request: web.Request) -> str | None:
    """Who is logged in. A wrong credential is nobody's, as in Harbor, and not refused."""
    header = request.headers.get("Authorization")
    if header is None or server.state == State.UNAUTHORIZED:
        return None
    try:
        given = BasicAuth.decode(header, encoding="utf-8")
    except ValueError:
        return None
    right = hmac.compare_digest(given.password.encode(), server.password.encode())
    return given.login if right and given.login in (USER, ROBOT) else None


def _current_user(who: str | None) -> web.Response:
    if who is None:
        return _errors(401, "UNAUTHORIZED", "unauthorized")
    if who == ROBOT:
        return _errors(412, "PRECONDITION", "get current user not available for robot account")
    return web.json_response({"user_id": 1, "username": who, "sysadmin_flag": True})


def _system_info(server: HarborServer, who: str | None) -> dict[str, Any]:
    public: dict[str, Any] = {"auth_mode": "db_auth", "self_registration": False}
    if who is None:
        return public
    read_only = server.state == State.READ_ONLY
    return public | {"harbor_version": "v2.16.0-test", "read_only": read_only}


def _errors(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"errors": [{"code": code, "message": message}]}, status=status)


async def _serve(port: int, url_file: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with harbor_server(port=port) as server:
        print(f"Harbor speaks at {server.url}; break it with POST {server.url}/control", flush=True)
        if url_file is not None:
            _write_at_once(url_file, server.url)
        try:
            await stop.wait()
        finally:
            if url_file is not None:
                url_file.unlink(missing_ok=True)


def _write_at_once(path: Path, text: str) -> None:
    """Who waits for the file never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(f"{text}\n")
    unfinished.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip())
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--url-file", type=Path, help="is given the URL when the server is ready")
    given = parser.parse_args()
    asyncio.run(_serve(given.port, given.url_file))


if __name__ == "__main__":
    main()
