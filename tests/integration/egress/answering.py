"""Servers that answer, or fail to, in every way that a provider can."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network

from stella_contracts.manifest import Manifest

LOOPBACK = [ip_network("127.0.0.0/8")]
REGISTRY = Manifest(
    id="registry",
    provider_type="registry",
    version="1.0.0",
    api_version=1,
    entry_point="stella_plugin_registry.plugin:RegistryPlugin",
    config_schema={},
)
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Server:
    """Where it listens, and what has reached it."""

    port: int = 0
    connections: int = 0
    open: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def saying(*pieces: bytes) -> Behaviour:
    """Answers each request with these bytes, and keeps the connection."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return behave


def then_closing(*pieces: bytes) -> Behaviour:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await saying(*pieces)(reader, writer)
        writer.close()

    return behave


def for_ever(beginning: bytes, repeated: bytes) -> Behaviour:
    """Sends until the other side has had enough."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        while not writer.is_closing():
            writer.write(repeated)
            await writer.drain()

    return behave


async def resetting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # An aborted connection that is not lingered on ends with a reset.
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hanging(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@asynccontextmanager
async def serving(
    behave: Behaviour,
    *,
    tls: ssl.SSLContext | None = None,
    until: bytes = b"\r\n\r\n",
    host: str = "127.0.0.1",
) -> AsyncIterator[Server]:
    """
    Serve on a free port of the host until the block ends.

    `until` is what ends a request: the end of its headers, or anything else for who takes
    other protocols for HTTP.
    """
    server = Server()
    writers: set[asyncio.StreamWriter] = set()
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serve(reader, writer)))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        server.open += 1
        writers.add(writer)
        try:
            while not writer.is_closing():
                server.requests.append(await reader.readuntil(until))
                await behave(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            server.open -= 1
            writer.close()
            writers.discard(writer)

    listener = await asyncio.start_server(accept, host, 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for writer in list(writers):
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.wait_closed()


def names(**known: Sequence[str]) -> Callable[[str], Sequence[str]]:
    """A lookup that knows `name.test` for each of these names, and nothing else."""

    def look_up(host: str) -> Sequence[str]:
        try:
            return known[host.removesuffix(".test")]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, "unknown") from None

    return look_up
