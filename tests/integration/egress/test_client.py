"""What a plugin can rely on of the client that it is lent."""

import asyncio
import gzip
from collections.abc import Callable
from contextlib import AsyncExitStack

import httpx
import pytest
import uvloop
from tests.integration.egress.answering import (
    HELLO,
    LOOPBACK,
    REGISTRY,
    Server,
    saying,
    serving,
)
from tests.support.certificates import server_certificate

from stella_contracts.plugin import Steps
from stella_runtime.egress import Egress, open_egress
from stella_runtime.egress.pool import CONNECTIONS_PER_HOST, OPEN_AND_KEPT


async def get(egress: Egress, url: str, steps: Steps | None = None) -> str:
    http = egress.client(REGISTRY, {"endpoint": url}, steps or Steps(), tenant_id="acme")
    return (await http.get(url)).text


def names_and_results(steps: Steps) -> list[tuple[str, str]]:
    return [(step.name, step.result.value) for step in steps.taken]


@pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_connection_is_timed_when_it_is_made_and_skipped_when_reused(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    certificate = server_certificate()

    async def check_twice() -> tuple[Steps, Steps]:
        first, second = Steps(), Steps()
        authorities = certificate.certificate.decode()
        async with (
            serving(saying(HELLO), tls=certificate.server_context()) as server,
            open_egress(LOOPBACK, authorities=authorities) as egress,
        ):
            url = f"https://127.0.0.1:{server.port}/"
            http = egress.client(REGISTRY, {"endpoint": url}, first, tenant_id="acme")
            await http.get(url)
            await http.get(url)
            await get(egress, url, second)
        return first, second

    with asyncio.Runner(loop_factory=loop) as runner:
        first, second = runner.run(check_twice())

    assert names_and_results(first) == [("connect", "passed"), ("tls", "passed")]
    assert all(step.ms > 0 for step in first.taken)
    assert names_and_results(second) == [("connect", "skipped"), ("tls", "skipped")]


async def test_path_and_query_arrive_as_they_are() -> None:
    async with serving(saying(HELLO)) as server, open_egress(LOOPBACK) as egress:
        await get(egress, f"{server.url}/a%2Fb/%7Ec//d?e=%20f&g=h%2Bi+j")

    assert server.requests[0].startswith(b"GET /a%2Fb/%7Ec//d?e=%20f&g=h%2Bi+j HTTP/1.1\r\n")


async def test_request_says_who_asks() -> None:
    async with serving(saying(HELLO)) as server, open_egress(LOOPBACK) as egress:
        await get(egress, server.url)

    assert b"\r\nUser-Agent: stella-integrations/" in server.requests[0]
    assert b"\r\nAccept-Encoding: gzip\r\n" in server.requests[0]


async def test_body_is_sent_and_compressed_answer_read() -> None:
    packed = gzip.compress(b"hello")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    bodies: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await reader.readexactly(9))
        await saying(head.encode() + packed)(reader, writer)

    async with serving(behave) as server, open_egress(LOOPBACK) as egress:
        http = egress.client(REGISTRY, {"endpoint": server.url}, Steps(), tenant_id="acme")
        response = await http.post(server.url, json={"a": "b"})

    assert bodies == [b'{"a":"b"}']
    assert response.text == "hello"
    assert b"Content-Length: 9\r\n" in server.requests[0]


async def test_cookie_is_forgotten() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: session=1\r\n\r\n"
    async with serving(saying(answer)) as server, open_egress(LOOPBACK) as egress:
        http = egress.client(REGISTRY, {"endpoint": server.url}, Steps(), tenant_id="acme")
        await http.get(server.url)
        await http.get(server.url)

    assert not any(b"session" in request for request in server.requests)


async def test_what_one_check_sets_no_other_sends() -> None:
    async with serving(saying(HELLO)) as server, open_egress(LOOPBACK) as egress:
        http = egress.client(REGISTRY, {"endpoint": server.url}, Steps(), tenant_id="acme")
        http.headers["Authorization"] = "Bearer hunter2"
        http.cookies.set("session", "hunter2")
        http.event_hooks["request"].append(pytest.fail)
        await http.aclose()
        await get(egress, server.url)

    assert not any(b"hunter2" in request for request in server.requests)


async def test_answer_can_be_streamed_and_left_unread() -> None:
    async with serving(saying(HELLO)) as server, open_egress(LOOPBACK) as egress:
        http = egress.client(REGISTRY, {"endpoint": server.url}, Steps(), tenant_id="acme")
        async with http.stream("GET", server.url) as response:
            assert [piece async for piece in response.aiter_bytes()] == [b"hello"]
        async with http.stream("GET", server.url) as response:
            assert response.status_code == 200
        assert (await http.get(server.url)).text == "hello"


async def test_connections_to_a_host_and_those_kept_are_bounded() -> None:
    answer = asyncio.Event()
    hosts = OPEN_AND_KEPT // CONNECTIONS_PER_HOST + 1

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer.wait()
        await saying(HELLO)(reader, writer)

    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(behave)) for _ in range(hosts)]
        egress = await stack.enter_async_context(open_egress(LOOPBACK))
        async with asyncio.TaskGroup() as checks:
            for server in servers:
                for _ in range(CONNECTIONS_PER_HOST + 20):
                    checks.create_task(get(egress, server.url))
            await until(lambda: open_at(servers) >= hosts * CONNECTIONS_PER_HOST)
            most = [server.open for server in servers]
            answer.set()

        await until(lambda: open_at(servers) <= OPEN_AND_KEPT)
        kept = open_at(servers)

    assert most == [CONNECTIONS_PER_HOST] * hosts
    assert kept > 0


def open_at(servers: list[Server]) -> int:
    return sum(server.open for server in servers)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nothing tells of a closed connection
            await asyncio.sleep(0.01)


async def test_answer_is_the_same_whether_or_not_a_plugin_hooks_into_httpx() -> None:
    """A client without hooks takes a shorter way, on which nothing may be missing."""

    async def ask(*, hooked: bool) -> httpx.Response:
        async def look(_: httpx.Request) -> None: ...

        http = egress.client(REGISTRY, {"endpoint": server.url}, Steps(), tenant_id="acme")
        http.event_hooks = {"request": [look] if hooked else []}
        return await http.get(server.url, auth=httpx.BasicAuth("robot", "password"))

    answer = b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 5\r\n\r\nhello"
    async with serving(saying(answer)) as server, open_egress(LOOPBACK) as egress:
        short, long = await ask(hooked=False), await ask(hooked=True)

    first, second = server.requests
    assert first == second
    assert b"\r\nAuthorization: Basic " in first
    assert (short.status_code, short.headers, short.content, short.encoding) == (
        (long.status_code, long.headers, long.content, long.encoding)
    )
    assert short.elapsed.total_seconds() > 0
    assert short.next_request is not None
    assert long.next_request is not None
    assert short.next_request.url == long.next_request.url
    assert (short.is_closed, short.is_stream_consumed) == (long.is_closed, long.is_stream_consumed)


async def test_failure_names_its_request() -> None:
    async with serving(saying(HELLO)) as server, open_egress(LOOPBACK) as egress:
        http = egress.client(REGISTRY, {"endpoint": server.url}, Steps(), tenant_id="acme")
        with pytest.raises(httpx.LocalProtocolError) as failed:
            await http.get(server.url, headers={"X-Broken": "a\r\nb"})

    assert failed.value.request.url == server.url
