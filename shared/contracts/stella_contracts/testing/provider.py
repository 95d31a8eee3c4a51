"""Providers that fail, stay silent or answer nonsense, and no connection to any of them."""

import asyncio
import json
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx


class Provider(httpx.AsyncBaseTransport):
    """Answers with what a function makes of each request, and keeps the requests."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        self._answer = answer
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        await asyncio.sleep(0)
        return self._answer(request)


class SilentProvider(httpx.AsyncBaseTransport):
    """Takes a request and never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:  # noqa: ARG002
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


@dataclass(frozen=True, slots=True)
class BadAnswer:
    """An answer that no provider gives when all is well."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    location: str | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        headers = {"Content-Type": self.content_type}
        if self.location:
            headers["Location"] = self.location
        return httpx.Response(self.status, headers=headers, content=self.body, request=request)


BAD_ANSWERS: Sequence[BadAnswer] = (
    BadAnswer(200, b"<!doctype html><title>Sign in</title>", "text/html"),
    BadAnswer(203, b"<!doctype html><title>Sign in</title>", "text/html"),
    BadAnswer(200),
    BadAnswer(204),
    BadAnswer(200, b"{}"),
    BadAnswer(200, b"[]"),
    BadAnswer(200, b"null"),
    BadAnswer(200, b'"healthy"'),
    BadAnswer(200, b'{"status":'),
    BadAnswer(200, b'{"status": 1e999, "components": "\xff"}'),
    BadAnswer(200, b"[" * 20_000),
    BadAnswer(302, location="https://elsewhere.test/"),
    BadAnswer(400, b"{}"),
    BadAnswer(401, b"{}"),
    BadAnswer(403, b"{}"),
    BadAnswer(404, b"{}"),
    BadAnswer(412, b"{}"),
    BadAnswer(429, b"{}"),
    BadAnswer(500, b"{}"),
    BadAnswer(502, b"<html>Bad gateway</html>", "text/html"),
)


def transport_failures() -> Sequence[httpx.HTTPError]:
    """One of each class of failure on the way, with the causes that httpx leaves in place."""
    return [
        _caused(httpx.ConnectError("no name"), socket.gaierror(-2, "Name or service not known")),
        _caused(httpx.ConnectError("refused"), ConnectionRefusedError(111, "refused")),
        _caused(httpx.ConnectError("tls"), ssl.SSLCertVerificationError(1, "expired")),
        _caused(httpx.ReadError("reset"), ConnectionResetError(104, "reset")),
        httpx.ConnectTimeout("slow"),
        httpx.ReadTimeout("slow"),
        httpx.WriteTimeout("slow"),
        httpx.PoolTimeout("busy"),
        httpx.ProxyError("no way out"),
        httpx.RemoteProtocolError("no HTTP"),
        httpx.DecodingError("no gzip"),
        httpx.UnsupportedProtocol("no scheme"),
    ]


def failing_with(error: httpx.HTTPError) -> Callable[[httpx.Request], httpx.Response]:
    """An answer that is an exception."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    return fail


def echoing(status: int) -> Callable[[httpx.Request], httpx.Response]:
    """An answer that repeats all it was sent, the credential included, as debug pages do."""

    def echo(request: httpx.Request) -> httpx.Response:
        sent = dict(request.headers) | {"url": str(request.url)}
        problem = {"code": json.dumps(sent), "message": json.dumps(sent)}
        body = json.dumps({"status": json.dumps(sent), "errors": [problem], **sent})
        return httpx.Response(status, text=body, request=request)

    return echo


def _caused(error: httpx.HTTPError, cause: Exception) -> httpx.HTTPError:
    error.__cause__ = cause
    return error


_WATCHED = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}


@contextmanager
def watched_connections() -> Iterator[list[str]]:
    """The connections and look-ups of names that this process makes meanwhile."""
    opened: list[str] = []
    watching = True

    def audit(event: str, _: tuple[object, ...]) -> None:
        if watching and event in _WATCHED:
            opened.append(event)

    # The interpreter never lets go of a hook: afterwards it is there, and does nothing.
    sys.addaudithook(audit)
    try:
        yield opened
    finally:
        watching = False
