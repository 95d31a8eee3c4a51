"""Around every request: its id, its log line, its metrics, the bounds of its body."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from urllib.parse import unquote

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stella_api.problems import TellOfRefusal, problem, problem_of
from stella_api.quotas import Quota
from stella_api.strict_json import check_json
from stella_contracts.errors import Malformed
from stella_runtime.ids import new_id
from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.metrics import Metrics
from stella_runtime.telemetry.spans import UNRECORDED, Span

log = structlog.get_logger()

OF_THE_OPERATOR = {"/healthz", "/readyz", "/metrics"}
"""Asked all the time, and told of by neither logs nor traces."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_JSON = re.compile(r"application/json(\s*;\s*charset=(utf-8|\"utf-8\"))?", re.IGNORECASE)
_LINES = re.compile(r"application/(x-)?ndjson(\s*;\s*charset=(utf-8|\"utf-8\"))?", re.IGNORECASE)
_OF_LINES = {"/api/v1/integrations/import": 4 * 1024 * 1024}
"""Bodies of one JSON document a line, and the bytes that each may have."""
_WITH_BODY = {"POST", "PUT", "PATCH"}
_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_LOADS_NOTHING = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""Should a browser show an answer of the API."""


class RequestContext:
    """Gives a request its id, and tells of it once it is answered."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(new_id())
        scope.setdefault("state", {})["request_id"] = request_id
        # Not all of them: `service` is bound for the life of the process.
        structlog.contextvars.unbind_contextvars("tenant_id")
        structlog.contextvars.bind_contextvars(request_id=request_id)
        is_traced = scope["path"] not in OF_THE_OPERATOR
        with tracing.serving(scope["headers"]) if is_traced else UNRECORDED as span:
            await self._answer(scope, receive, send, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        started = time.perf_counter()
        status = 500
        request_id = scope["state"]["request_id"]

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    *_headers_of_all(scope, message),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            span.rename(f"{scope['method']} {route}")
            span.set(method=scope["method"], route=route, request_id=request_id)
            span.answered(status)
            self._tell(scope, route, status, time.perf_counter() - started)

    def _tell(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        self._metrics.request(scope["method"], route, status, seconds)
        if scope["path"] not in OF_THE_OPERATOR:
            identifier = scope.get("path_params", {}).get("integration_id")
            log.info(
                "request_handled",
                action=f"{scope['method']} {route}",
                **({"integration_id": identifier[:64]} if identifier else {}),
                status=status,
                latency_ms=round(seconds * 1000, 1),
            )


def _headers_of_all(scope: Scope, message: Message) -> Iterator[tuple[bytes, bytes]]:
    """As bytes: `MutableHeaders` looks through all of them for each that it sets."""
    yield from _SECURITY_HEADERS
    quota: Quota | None = scope["state"].get("quota")
    if quota is not None:
        yield from quota.headers
    if scope["path"].startswith("/api/"):
        yield _LOADS_NOTHING
        if all(name != b"cache-control" for name, _ in message.get("headers", ())):
            yield (b"cache-control", b"no-store")


class Unexpected:
    """Answers what nobody foresaw with a problem that shows nothing of the inside."""

    def __init__(self, app: ASGIApp, tell_of_refusal: TellOfRefusal) -> None:
        self._app = app
        self._tell_of_refusal = tell_of_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            log.exception("request_failed", error=type(error).__name__)
            await self._tell_of_refusal(scope, "internal_error", "failed")
            answer = problem(
                500,
                "internal_error",
                "Something is wrong on our side. The request id finds it in our log.",
                request_id=scope["state"]["request_id"],
            )
            await answer(scope, receive, send)


class _Refusal(Exception):
    """Why a request is not passed on."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail


class BodyBounds:
    """Reads a body at most as large as allowed, in bounded time, and as JSON that can be stored."""

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["state"]["request_id"]
        try:
            _check_url(scope)
            if scope["method"] in _WITH_BODY and scope["path"].startswith("/api/"):
                body = await self._read(scope, receive)
                receive = _replay(body, receive)
        except _Refusal as refusal:
            answer = problem(refusal.status, refusal.code, refusal.detail, request_id=request_id)
            if refusal.status in {408, 413}:
                # What is left of the body is not waited for.
                answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
        except Malformed as error:
            await problem_of(error, request_id=request_id)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        """The body, which may be empty. Raises _Refusal, or MalformedBody."""
        headers = Headers(scope=scope)
        is_lines = scope["path"] in _OF_LINES
        max_bytes = _OF_LINES.get(scope["path"], self._max_bytes)
        too_large = _Refusal(413, "body_too_large", f"A body may have {max_bytes} bytes at most.")
        declared = headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:18]) > max_bytes:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in _chunks(receive):
                    body += chunk
                    if len(body) > max_bytes:
                        raise too_large
        except TimeoutError as error:
            raise _Refusal(
                408, "request_timeout", f"The body did not arrive within {self._seconds:g} s."
            ) from error
        if body:
            media = _LINES if is_lines else _JSON
            if not media.fullmatch(headers.get("content-type", "").strip()):
                wanted = "application/x-ndjson" if is_lines else "application/json"
                raise _Refusal(415, "unsupported_media_type", f"Send Content-Type: {wanted}.")
            # Of lines, each is judged by itself.
            if not is_lines:
                check_json(bytes(body))
        return bytes(body)


def _check_url(scope: Scope) -> None:
    if b"%00" in scope["query_string"] or "\x00" in unquote(scope["path"]):
        raise _Refusal(400, "malformed_url", "The URL holds a NUL character.")


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            # Half a body may be JSON, and another than was meant.
            raise _Refusal(400, "malformed_body", "The connection ended within the body.")
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
