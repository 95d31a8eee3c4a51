"""
A network that can be harmed: a TCP proxy in the test's own loop.

It stands between a client of ours and a server, and does on demand what networks do: delay,
cut without a word, reset, refuse. Also for PostgreSQL, which in tests listens on a Unix socket.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

CHUNK = 64 * 1024
CHUNKS_UNDER_WAY = 64
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER, zero seconds: closing sends RST


@dataclass(slots=True, eq=False)
class _Link:
    """One connection: both ends, and the tasks that carry bytes between them."""

    ends: list[asyncio.StreamWriter] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class TcpProxy:
    """Opened by `tcp_proxy`. What it is told holds for every connection, old and new."""

    def __init__(self, upstream: str | tuple[str, int], *, host: str = "127.0.0.1") -> None:
        self.latency = 0.0
        """Seconds that bytes take, each way."""
        self.port = 0
        self._upstream = upstream
        self._host = host
        self._open = asyncio.Event()
        self._open.set()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._links)

    def cut(self) -> None:
        """
        Deliver nothing, and say nothing: a partition.

        Open connections stay, new ones are taken and hear nothing. What is sent meanwhile
        arrives after `heal`, as TCP would send it again, as far as buffers hold it.
        """
        self._open.clear()

    def heal(self) -> None:
        """Undo `cut`."""
        self._open.set()

    def reset(self) -> None:
        """Break every open connection with a RST at both ends, losing what is under way."""
        for link in self._links:
            for end in link.ends:
                raw = end.get_extra_info("socket")
                with suppress(OSError):
                    # Not for Unix sockets, which have no RST: closing them is as abrupt.
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                end.transport.abort()
            for task in link.tasks:
                task.cancel()

    async def refuse(self) -> None:
        """Take no new connections: connecting is refused at once. Open ones stay."""
        assert self._server is not None
        self._server.close()
        self._server = None

    async def accept(self) -> None:
        """Undo `refuse`, on the same port."""
        self._server = await asyncio.start_server(
            self._taken, self._host, self.port, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.reset()
        if self._server is not None:
            self._server.close()
        await asyncio.gather(
            *(task for link in self._links for task in link.tasks), return_exceptions=True
        )

    def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(ends=[writer])
        self._links.add(link)
        # Cancelled by `reset`, also while the server is being connected to.
        link.tasks.append(asyncio.create_task(self._hold(link, reader, writer)))

    async def _hold(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            await self._open.wait()
            if isinstance(self._upstream, str):
                connected = await asyncio.open_unix_connection(self._upstream)
            else:
                connected = await asyncio.open_connection(*self._upstream)
            their_reader, their_writer = connected
            link.ends.append(their_writer)
            both = [
                asyncio.create_task(self._carry(reader, their_writer)),
                asyncio.create_task(self._carry(their_reader, writer)),
            ]
            link.tasks += both
            await asyncio.wait(both)
        except OSError:
            pass  # the server is away: the client sees its connection closed
        finally:
            self._links.discard(link)
            for end in link.ends:
                end.close()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        """Carry bytes one way until either end closes: in order, each as late as it must be."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_UNDER_WAY)
        delivering = asyncio.create_task(self._deliver(under_way, target))
        try:
            while data := await source.read(CHUNK):
                await under_way.put((_now() + self.latency, data))
            await under_way.put((_now() + self.latency, b""))
            await delivering
        except OSError:
            target.close()
        finally:
            delivering.cancel()
            await asyncio.gather(delivering, return_exceptions=True)

    async def _deliver(
        self, under_way: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - _now())
            await self._open.wait()
            if not data:
                target.write_eof()
                return
            target.write(data)
            await target.drain()

    def url(self, original: str) -> str:
        """The address `original`, by way of this proxy."""
        parts = urlsplit(original)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{user}{at}{self._host}:{self.port}", query=""))


@asynccontextmanager
async def tcp_proxy(url: str, *, host: str = "127.0.0.1") -> AsyncIterator[TcpProxy]:
    """
    A proxy to the server of an AMQP, PostgreSQL or HTTP address. Use `proxy.url(url)`.

    It listens on an address of this machine.
    """
    proxy = TcpProxy(_upstream_of(url), host=host)
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.close()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _upstream_of(url: str) -> str | tuple[str, int]:
    parts = urlsplit(url)
    if parts.hostname:
        return parts.hostname, parts.port or {"amqp": 5672, "http": 80}.get(parts.scheme, 5432)
    [folder] = parse_qs(parts.query)["host"]
    return str(Path(folder) / ".s.PGSQL.5432")
