"""The harmed network of tests/support does what its tests are promised."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
import pytest
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Connection]]


@pytest.fixture
async def proxy() -> AsyncIterator[TcpProxy]:
    """To a server that says what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                writer.write(data)
        except ConnectionResetError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, tcp_proxy(f"http://127.0.0.1:{port}") as opened:
        yield opened


@pytest.fixture
async def connect(proxy: TcpProxy) -> AsyncIterator[Connect]:
    made: list[Connection] = []

    async def connect_to_proxy() -> Connection:
        made.append(await asyncio.open_connection("127.0.0.1", proxy.port))
        return made[-1]

    yield connect_to_proxy
    for _, writer in made:
        writer.close()


async def hears(connection: Connection, what: bytes, *, within: float = 10) -> bool:
    """Say something, and hear it come back in time or not."""
    reader, writer = connection
    writer.write(what)
    try:
        async with asyncio.timeout(within):
            return await reader.readexactly(len(what)) == what
    except TimeoutError:
        return False


async def test_bytes_pass_both_ways_and_the_end_too(proxy: TcpProxy, connect: Connect) -> None:
    reader, writer = connection = await connect()
    heard = await hears(connection, b"hello" * 100)

    writer.write_eof()

    assert heard
    assert await reader.read() == b""


async def test_a_cut_is_silent_and_what_was_sent_arrives_after_it(
    proxy: TcpProxy, connect: Connect
) -> None:
    old = await connect()
    assert await hears(old, b"before")

    proxy.cut()
    new = await connect()
    unheard = [await hears(each, b"during", within=0.2) for each in (old, new)]
    proxy.heal()

    assert unheard == [False, False]
    assert await old[0].readexactly(6) == b"during"
    assert await new[0].readexactly(6) == b"during"


async def test_a_reset_breaks_what_is_open_and_nothing_else(
    proxy: TcpProxy, connect: Connect
) -> None:
    old = await connect()
    assert await hears(old, b"before")

    proxy.reset()

    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await old[0].readexactly(1)
    assert await hears(await connect(), b"after")


async def test_refused_connections_are_taken_again_on_the_same_port(
    proxy: TcpProxy, connect: Connect
) -> None:
    await proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect()

    await proxy.accept()

    assert await hears(await connect(), b"after")


async def test_latency_is_added_each_way(proxy: TcpProxy, connect: Connect) -> None:
    connection = await connect()
    proxy.latency = 0.05
    loop = asyncio.get_running_loop()
    began = loop.time()

    assert await hears(connection, b"late")

    assert loop.time() - began >= 0.1


async def test_a_database_is_reached_through_it(database_url: str) -> None:
    async with (
        tcp_proxy(database_url) as proxy,
        await psycopg.AsyncConnection.connect(proxy.url(database_url)) as connection,
    ):
        answer = await (await connection.execute("select 1")).fetchone()

    assert answer == (1,)
