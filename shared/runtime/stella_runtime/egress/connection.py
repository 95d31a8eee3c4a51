"""HTTP/1.1 on one connection: llhttp reads what comes, by way of httptools."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple, cast

import httptools
import httpx

HEAD_LIMIT = 64 * 1024
"""Bytes of status line and headers, with those of interim answers."""
ANSWER_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer as it comes, with what frames its chunks, and trailers."""
UNREAD_LIMIT = 256 * 1024
"""Bytes that wait to be read. With more, no more is taken from the socket."""

_INFORMATIONAL = range(100, 200)


class Head(NamedTuple):
    """The beginning of an answer."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]


class Connection(asyncio.Protocol):
    """
    Carries one exchange after another: `ask`, `read` to the end, `end`.

    Cancelled or failed in between, it is of no more use, which `end` tells.
    """

    def __init__(self, lost: Callable[["Connection"], None]) -> None:
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._begin()
        self._ended = True
        self.idle_since = 0.0
        """By the loop's clock; set by who keeps it."""

    def _begin(self, *, bodiless: bool = False, read_seconds: float | None = None) -> None:
        self._bodiless = bodiless
        self._read_seconds = read_seconds
        self._head: Head | None = None
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces.clear()
        self._unread = self._received = 0
        self._ends_with_connection = self._can_be_kept = self._ended = self._is_paused = False
        self._failure: httpx.TransportError | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    @property
    def is_untouched(self) -> bool:
        """Whether nothing came in the present exchange."""
        return not self._received

    async def ask(
        self, request: bytes, *, bodiless: bool = False, read_seconds: float | None = None
    ) -> Head:
        """
        Send a request, and wait for the head of its answer.

        `bodiless` says that the answer has no body whatever its head says, as to HEAD.
        `read_seconds` limits each wait for more. Raises httpx.ReadTimeout, ReadError when the
        connection is lost, and RemoteProtocolError, here and in `read`.
        """
        self._begin(bodiless=bodiless, read_seconds=read_seconds)
        if self._transport is None:
            raise _lost()
        self._transport.write(request)
        while self._head is None:
            await self._more()
        return self._head

    async def read(self) -> bytes:
        """What has come of the body, or nothing at its end."""
        while not self._pieces:
            if self._ended:
                return b""
            await self._more()
        read = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._unread = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return read

    def end(self) -> bool:
        """End the exchange, and say whether the connection can carry another one."""
        if self._ended and self._can_be_kept and self._transport is not None:
            return True
        self.abort()
        return False

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    async def _more(self) -> None:
        if self._failure is not None:
            raise self._failure
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        seconds = self._read_seconds
        timer = None if seconds is None else loop.call_later(seconds, _give_up, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: httpx.TransportError) -> None:
        self._failure = self._failure or failure
        self.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            # Nothing was asked: whatever this is, it answers no question of ours.
            self.abort()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._ended:
                self._fail(_broken())
            self._can_be_kept = False
        limit = HEAD_LIMIT if self._head is None else ANSWER_LIMIT
        if self._received > limit and not self._ended:
            self._fail(_broken())
        if self._unread > UNREAD_LIMIT and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._ended:
            if self._head is None:
                self._failure = self._failure or _lost()
            elif self._ends_with_connection and exc is None:
                self._ended = True
            else:
                self._failure = self._failure or _broken()
        self._wake()
        self._lost(self)

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._ended:
            # More than one answer to one question.
            self._can_be_kept = False

    def on_status(self, status: bytes) -> None:
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._head is not None or status in _INFORMATIONAL:
            self._headers, self._reason = [], b""
            return
        self._head = Head(status, self._reason, self._headers)
        names = {name.lower() for name, _ in self._headers}
        self._ends_with_connection = not names & {b"content-length", b"transfer-encoding"}
        self._ended = self._bodiless

    def on_body(self, body: bytes) -> None:
        if not self._ended:
            self._pieces.append(body)
            self._unread += len(body)

    def on_message_complete(self) -> None:
        if self._head is not None and not self._ended:
            self._ended = True
            self._can_be_kept = self._parser.should_keep_alive()


def _give_up(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(httpx.ReadTimeout("No answer in time."))


def _lost() -> httpx.ReadError:
    return httpx.ReadError("The connection was lost.")


def _broken() -> httpx.RemoteProtocolError:
    return httpx.RemoteProtocolError("The answer breaks the HTTP protocol.")
