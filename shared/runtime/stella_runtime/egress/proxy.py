"""The proxy that an operator has every connection go through (HTTP CONNECT, RFC 9110, 9.3.6)."""

import asyncio
import base64
import socket
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

import httptools
import httpx

ANSWER_LIMIT = 16 * 1024
"""Bytes of the answer to CONNECT."""
ANSWER_SECONDS = 10.0
_PORT = 3128


class Proxy(NamedTuple):
    """Where it is, and how we say who we are."""

    host: str
    port: int
    authorization: bytes | None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises ValueError, which does not repeat the URL: it may hold a password."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError("It must be http://host:port, with user:password@ where it asks.")
        authorization = None
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = b"Basic " + base64.b64encode(login.encode())
        return cls(parts.hostname, parts.port or _PORT, authorization)


async def tunnel(connected: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have the proxy connect us to a host. Raises httpx.ProxyError unless it does so in time."""
    target = b"[%b]:%d" if ":" in host else b"%b:%d"
    target = target % (host.encode("ascii"), port)
    request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (target, target)
    if proxy.authorization is not None:
        request += b"Proxy-Authorization: %b\r\n" % proxy.authorization
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await loop.sock_sendall(connected, request + b"\r\n")
            status = await _status(connected)
    except OSError as error:
        raise httpx.ProxyError("The proxy did not answer.") from error
    if status // 100 != 2:
        raise httpx.ProxyError(f"The proxy refused with HTTP {status}.")


async def _status(connected: socket.socket) -> int:
    """Of the answer, of which no more is taken than its head: what follows is the host's."""
    loop = asyncio.get_running_loop()
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # One byte at a time: the host may speak at once, and that is for TLS to read.
        received = await loop.sock_recv(connected, 1)
        head += received
        if not received or len(head) > ANSWER_LIMIT:
            raise httpx.ProxyError("The proxy's answer is none.")
    parser = httptools.HttpResponseParser(None)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        raise httpx.ProxyError("The proxy's answer is none.") from None
    return int(parser.get_status_code())
