"""httpx outside, aiohttp inside, and the rules that every request is held to."""

import zlib
from collections.abc import AsyncIterator

import aiohttp
import httpx
from multidict import CIMultiDict
from yarl import URL

from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed, Steps
from stella_runtime.egress.connector import Blocked, Dial, current_dial
from stella_runtime.egress.origins import Origin, origin_of
from stella_runtime.telemetry import tracing

CONNECT_SECONDS = 3.0
CLIENT_ERROR = 400
BODY_LIMIT = 1024 * 1024
"""Bytes of an answer, decoded."""

_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
_GZIP = {"gzip", "x-gzip"}
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ABOUT_THE_CODED_BODY = {b"content-encoding", b"content-length"}


class GuardedTransport(httpx.AsyncBaseTransport):
    """
    Sends the requests of one check, to the origins of its integration and to no other.

    Raises Blocked for what the policy forbids, CheckFailed for an answer that is too large,
    and httpx's exceptions, with aiohttp's as their cause, for what fails on the way.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        origins: frozenset[Origin],
        steps: Steps,
        *,
        send_traceparent: bool = False,
    ) -> None:
        self._session = session
        self._origins = origins
        self._steps = steps
        self._send_traceparent = send_traceparent

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, whose body is still to be read."""
        answer = await self._send(request)
        coding = _coding_of(answer)
        return _response(answer, coding, request, BoundedBody(answer, coding))

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """The answer, read to its end. Costs half of what streaming does."""
        answer = await self._send(request)
        coding = _coding_of(answer)
        try:
            body = b"".join([piece async for piece in BoundedBody(answer, coding)])
        finally:
            answer.release()
        response = _response(answer, coding, request, httpx.ByteStream(body))
        # As after `aread`, whose layers of iterators cost as much as the rest of the answer.
        response._content = body  # noqa: SLF001 - no public way; rests on httpx 0.28
        response.is_closed = response.is_stream_consumed = True
        return response

    async def _send(self, request: httpx.Request) -> aiohttp.ClientResponse:
        url = self._checked(request.url)
        with tracing.requesting(
            request.method, scheme=url.scheme, host=url.raw_host or "", port=url.port or 0
        ) as span:
            answer = await self._ask(request, url)
            span.answered(answer.status, failed_from=CLIENT_ERROR)
        return answer

    async def _ask(self, request: httpx.Request, url: URL) -> aiohttp.ClientResponse:
        headers = _headers_of(request)
        if self._send_traceparent:
            headers.update(tracing.carried())
        dial = Dial(self._steps)
        current_dial.set(dial)
        try:
            answer = await self._session.request(
                request.method,
                url,
                headers=headers,
                data=_content_of(request),
                allow_redirects=False,
                timeout=_timeout_of(request),
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _as_httpx(error) from error
        except ValueError:
            # Not `from error`, which quotes the header.
            raise httpx.LocalProtocolError("The request breaks the HTTP protocol.") from None
        if not dial.was_made:
            dial.was_reused(tls=request.url.scheme == "https")
        return answer

    def _checked(self, url: httpx.URL) -> URL:
        origin = origin_of(url)
        if origin is None:
            raise httpx.UnsupportedProtocol("Not a URL of http or https.")
        if origin not in self._origins:
            raise Blocked("The request goes to another host than the one configured")
        if url.userinfo:
            raise Blocked("A URL may hold no credentials")
        # The parts that were judged are passed on, so that no second parser reads the text.
        path, _, query = url.raw_path.decode("ascii").partition("?")
        return URL.build(
            scheme=origin.scheme,
            host=f"[{origin.host}]" if ":" in origin.host else origin.host,
            port=origin.port,
            path=path,
            query_string=query,
            encoded=True,
        )


def _headers_of(request: httpx.Request) -> CIMultiDict[str]:
    # Undecodable ones raise UnicodeDecodeError, a ValueError.
    return CIMultiDict((name.decode(), value.decode()) for name, value in request.headers.raw)


def _content_of(request: httpx.Request) -> object:
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        return b"".join(stream) or None
    request.headers.pop("transfer-encoding", None)
    return stream


def _timeout_of(request: httpx.Request) -> aiohttp.ClientTimeout:
    asked = request.extensions.get("timeout", {})
    read = asked.get("read")
    if read is None:
        return _TIMEOUT
    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=read)


def _as_httpx(error: Exception) -> httpx.TransportError:
    """The exception that a plugin knows. The text stays behind: it can hold a header."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout("No connection in time.")
        case TimeoutError():
            return httpx.ReadTimeout("No answer in time.")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return httpx.UnsupportedProtocol("Not a URL that can be called.")
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError("No connection.")
        case aiohttp.ClientConnectionError():
            return httpx.ReadError("The connection was lost.")
        case _:
            return httpx.RemoteProtocolError("The answer breaks the HTTP protocol.")


def _coding_of(answer: aiohttp.ClientResponse) -> str:
    return answer.headers.get("content-encoding", "").strip().lower()


def _response(
    answer: aiohttp.ClientResponse,
    coding: str,
    request: httpx.Request,
    stream: httpx.AsyncByteStream,
) -> httpx.Response:
    headers = answer.raw_headers
    if coding:
        # Or httpx would decode it once more, and without a bound.
        headers = tuple(each for each in headers if each[0].lower() not in _ABOUT_THE_CODED_BODY)
    return httpx.Response(
        answer.status,
        headers=headers,
        stream=stream,
        request=request,
        extensions={
            "http_version": b"HTTP/1.1",
            "reason_phrase": (answer.reason or "").encode("ascii", "ignore"),
        },
    )


class BoundedBody(httpx.AsyncByteStream):
    """The body of an answer, decoded, as far as BODY_LIMIT."""

    def __init__(self, answer: aiohttp.ClientResponse, coding: str) -> None:
        self._answer = answer
        self._coding = coding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        gzip = _Gunzip() if self._coding in _GZIP else None
        if gzip is None and self._coding not in ("", "identity"):
            raise httpx.DecodingError("The answer is coded in a way that was not asked for.")
        length = 0
        try:
            while received := await self._answer.content.readany():
                piece = received if gzip is None else gzip.decode(received)
                length += len(piece)
                if length > BODY_LIMIT:
                    raise CheckFailed(
                        ErrorCode.BAD_RESPONSE, f"The answer has more than {BODY_LIMIT} bytes"
                    )
                yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _as_httpx(error) from error
        if gzip is not None and gzip.is_cut_off:
            raise httpx.RemoteProtocolError("The answer ends too early.")

    async def aclose(self) -> None:
        # Closes the connection unless the body was read to its end.
        self._answer.release()


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
