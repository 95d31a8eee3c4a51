"""Callers that take their time, or never end, hold nothing for long: over real connections."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from tests.support.api import Authority, Hub, everything, running_hub
from tests.support.builders import a_registration

from stella_runtime.connections import LARGEST_HEAD
from stella_runtime.operations import serving
from stella_runtime.persistence import Database


@dataclass
class Wire:
    """A connection, as bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """Everything until the other side ends it, which it must."""
        async with asyncio.timeout(20):
            return await self.reader.read()


@pytest.fixture
async def hub(database: Database, authority: Authority) -> AsyncIterator[Hub]:
    """An API that gives a body half a second."""
    async with running_hub(database, authority, body_seconds=0.5) as running:
        await running.put_plugins("registry")
        yield running


@pytest.fixture
async def port(hub: Hub) -> AsyncIterator[int]:
    async with serving(
        hub.application, host="127.0.0.1", port=0, drain_seconds=1, head_seconds=0.5
    ) as bound:
        yield bound


@pytest.fixture
async def wire(port: int) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Wire(reader, writer)
    writer.close()


def head(hub: Hub, length: str, *, method: str = "POST", path: str = "integrations") -> bytes:
    token = hub.authority.token()
    return (
        f"{method} /api/v1/{path} HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\n{length}\r\n\r\n"
    ).encode()


async def test_a_body_that_does_not_come_is_not_waited_for(hub: Hub, wire: Wire) -> None:
    await wire.send(head(hub, "Content-Length: 100") + b'{"name": "slow')

    answer = await wire.rest()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"urn:stella:problem:request_timeout" in answer


@pytest.mark.parametrize(
    "length", ["Content-Length: 52428800", "Transfer-Encoding: chunked"], ids=["said", "in chunks"]
)
async def test_a_body_that_is_too_large_ends_the_connection(
    hub: Hub, wire: Wire, length: str
) -> None:
    await wire.send(head(hub, length))
    if "chunked" in length:
        await wire.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n" + b"40000\r\n" + b" " * 0x40000)

    answer = await wire.rest()

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()


async def test_a_body_that_ends_early_is_not_taken_for_the_whole(hub: Hub, wire: Wire) -> None:
    """It is JSON as it is, and another than was meant."""
    body = json.dumps(a_registration()).encode()
    await wire.send(head(hub, f"Content-Length: {len(body) + 10}") + body)
    wire.writer.write_eof()

    answer = await wire.rest()

    assert not answer.startswith(b"HTTP/1.1 2")
    assert await everything(hub.client()) == []


async def test_what_follows_a_body_is_another_request(hub: Hub, wire: Wire) -> None:
    body = json.dumps(a_registration()).encode()
    await wire.send(head(hub, f"Content-Length: {len(body)}") + body + b"and more\r\n\r\n")

    answer = await wire.rest()

    assert answer.startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 400 "))
    assert b"HTTP/1.1 400 " in answer


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /api/v1/integ", id="half a line"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost: hub.test\r\nX-A: ", id="half a header"),
    ],
)
async def test_a_head_that_does_not_come_ends_the_connection(wire: Wire, sent: bytes) -> None:
    await wire.send(sent)

    assert await wire.rest() == b""


async def test_a_head_of_another_request_is_waited_for_no_longer(wire: Wire) -> None:
    await wire.send(b"GET /healthz HTTP/1.1\r\nHost: hub.test\r\n\r\nGET /healthz HT")

    answer = await wire.rest()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_headers_without_end_are_not_kept(wire: Wire) -> None:
    header = b"X-Filler: " + b"a" * 8000 + b"\r\n"

    async def send_headers() -> None:
        await wire.send(b"GET /healthz HTTP/1.1\r\n")
        for _ in range(100 * LARGEST_HEAD // len(header)):
            await wire.send(header)

    with pytest.raises(ConnectionError):
        await send_headers()
