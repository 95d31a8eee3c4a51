"""httpx outside, our connections inside, and the rules that every request is held to."""

import re
import zlib
from collections.abc import AsyncIterator
from typing import NamedTuple

import httpx

from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed, Steps
from stella_runtime.egress.connection import Connection, Head
from stella_runtime.egress.dialler import Blocked, Route
from stella_runtime.egress.origins import Origin, origin_of
from stella_runtime.egress.policy import EgressPolicy
from stella_runtime.egress.pool import Lent, Pool
from stella_runtime.telemetry import tracing

CLIENT_ERROR = 400
BODY_LIMIT = 1024 * 1024
"""Bytes of an answer, decoded, and of what is sent."""

_GZIP = {b"gzip", b"x-gzip"}
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ABOUT_THE_CODED_BODY = {b"content-encoding", b"content-length"}
_IDEMPOTENT = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}
"""What may be asked again when a kept connection turns out to be closed (RFC 9110, 9.2.2)."""
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_HEAD = re.compile(
    rb"%b [\x21-\x7e]+ HTTP/1\.1\r\n(?:%b: [\t\x20-\x7e\x80-\xff]*\r\n)*" % (_TOKEN, _TOKEN)
)
"""A request that is one and no more, whatever a plugin puts into its headers (RFC 9112)."""


class Rules(NamedTuple):
    """What requests are held to."""

    origins: frozenset[Origin]
    policy: EgressPolicy
    authorities: str | None = None
    """Certificates (PEM) that are trusted besides the hub's own."""


class GuardedTransport(httpx.AsyncBaseTransport):
    """
    Sends the requests of one check, to the origins of its integration and to no other.

    Raises Blocked for what the policy forbids, CheckFailed for an answer that is too large,
    and httpx's exceptions for what fails on the way.
    """

    def __init__(
        self,
        pool: Pool,
        rules: Rules,
        steps: Steps,
        *,
        send_traceparent: bool = False,
    ) -> None:
        self._pool = pool
        self._rules = rules
        self._steps = steps
        self._send_traceparent = send_traceparent

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, whose body is still to be read."""
        lent, head = await self._send(request)
        coding = _coding_of(head)
        return _response(head, coding, request, BoundedBody(self._pool, lent, coding))

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """The answer, read to its end. Costs half of what streaming does."""
        lent, head = await self._send(request)
        coding = _coding_of(head)
        try:
            body = b"".join([piece async for piece in _decoded(lent.connection, coding)])
        finally:
            self._pool.give_back(lent)
        response = _response(head, coding, request, httpx.ByteStream(body))
        # As after `aread`, whose layers of iterators cost as much as the rest of the answer.
        response._content = body  # noqa: SLF001 - no public way; rests on httpx 0.28
        response.is_closed = response.is_stream_consumed = True
        return response

    async def _send(self, request: httpx.Request) -> tuple[Lent, Head]:
        origin = self._checked(request.url)
        with tracing.requesting(
            request.method, scheme=origin.scheme, host=origin.host, port=origin.port
        ) as span:
            if self._send_traceparent:
                request.headers.update(tracing.carried())
            lent, head = await self._ask(request, origin)
            span.answered(head.status, failed_from=CLIENT_ERROR)
        return lent, head

    async def _ask(self, request: httpx.Request, origin: Origin) -> tuple[Lent, Head]:
        written = await _written(request)
        read_seconds = request.extensions.get("timeout", {}).get("read")
        bodiless = request.method == "HEAD"
        route = Route(origin, self._rules.policy, self._rules.authorities)
        lent = await self._pool.lend(route, self._steps)
        while True:
            try:
                head = await lent.connection.ask(
                    written, bodiless=bodiless, read_seconds=read_seconds
                )
            except httpx.ReadError:
                was_closed_before = lent.was_reused and lent.connection.is_untouched
                self._pool.give_back(lent)
                if not was_closed_before or request.method not in _IDEMPOTENT:
                    raise
            except BaseException:
                self._pool.give_back(lent)
                raise
            else:
                return lent, head
            lent = await self._pool.lend(route, self._steps, fresh=True)

    def _checked(self, url: httpx.URL) -> Origin:
        origin = origin_of(url)
        if origin is None:
            raise httpx.UnsupportedProtocol("Not a URL of http or https.")
        if origin not in self._rules.origins:
            raise Blocked("The request goes to another host than the one configured")
        if url.userinfo:
            raise Blocked("A URL may hold no credentials")
        return origin


async def _written(request: httpx.Request) -> bytes:
    """The request as it is sent."""
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        body = b"".join(stream)
    else:
        body = await _collected(stream)
        request.headers.pop("transfer-encoding", None)
        request.headers["Content-Length"] = str(len(body))
    lines = [b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b\r\n" % header for header in request.headers.raw]
    head = b"".join(lines)
    if _HEAD.fullmatch(head) is None:
        # Without the text, which can hold a secret.
        raise httpx.LocalProtocolError("The request breaks the HTTP protocol.")
    return b"%b\r\n%b" % (head, body)


async def _collected(stream: object) -> bytes:
    if not isinstance(stream, httpx.AsyncByteStream):
        raise httpx.LocalProtocolError("The body of a request must be bytes or asynchronous.")
    body = b""
    async for piece in stream:
        body += piece
        if len(body) > BODY_LIMIT:
            raise httpx.LocalProtocolError(f"The request has more than {BODY_LIMIT} bytes.")
    return body


def _coding_of(head: Head) -> bytes:
    for name, value in head.headers:
        if name.lower() == b"content-encoding":
            return value.strip().lower()
    return b""


def _response(
    head: Head, coding: bytes, request: httpx.Request, stream: httpx.AsyncByteStream
) -> httpx.Response:
    headers = head.headers
    if coding:
        # Or httpx would decode it once more, and without a bound.
        headers = [each for each in headers if each[0].lower() not in _ABOUT_THE_CODED_BODY]
    return httpx.Response(
        head.status,
        headers=headers,
        stream=stream,
        request=request,
        extensions={"http_version": b"HTTP/1.1", "reason_phrase": head.reason},
    )


class BoundedBody(httpx.AsyncByteStream):
    """The body of an answer, decoded, as far as BODY_LIMIT."""

    def __init__(self, pool: Pool, lent: Lent, coding: bytes) -> None:
        self._pool = pool
        self._lent: Lent | None = lent
        self._pieces = _decoded(lent.connection, coding)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def aclose(self) -> None:
        # Closes the connection unless the body was read to its end.
        lent, self._lent = self._lent, None
        if lent is not None:
            self._pool.give_back(lent)


async def _decoded(connection: Connection, coding: bytes) -> AsyncIterator[bytes]:
    gzip = _Gunzip() if coding in _GZIP else None
    if gzip is None and coding not in (b"", b"identity"):
        raise httpx.DecodingError("The answer is coded in a way that was not asked for.")
    length = 0
    while received := await connection.read():
        piece = received if gzip is None else gzip.decode(received)
        length += len(piece)
        if length > BODY_LIMIT:
            raise CheckFailed(
                ErrorCode.BAD_RESPONSE, f"The answer has more than {BODY_LIMIT} bytes"
            )
        yield piece
    if gzip is not None and gzip.is_cut_off:
        raise httpx.RemoteProtocolError("The answer ends too early.")


class _Gunzip:
    def __init__(self) -> None:
        self._gzip = zlib.decompressobj(_GZIP_WINDOW)
        self._begun = False

    @property
    def is_cut_off(self) -> bool:
        return self._begun and not self._gzip.eof

    def decode(self, received: bytes) -> bytes:
        self._begun = True
        try:
            # One byte too many is enough to know.
            return self._gzip.decompress(received, BODY_LIMIT + 1)
        except zlib.error as error:
            raise httpx.DecodingError("The answer is not gzip as it says.") from error
