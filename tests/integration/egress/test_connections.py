"""What becomes of a connection after its answer, and what is taken for an answer."""

import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.integration.egress.answering import (
    HELLO,
    LOOPBACK,
    REGISTRY,
    Behaviour,
    saying,
    serving,
    then_closing,
)

from stella_contracts.plugin import Steps
from stella_runtime.egress import Egress, open_egress
from stella_runtime.egress.transport import BODY_LIMIT

OK = b"HTTP/1.1 200 OK\r\n"


async def ask(egress: Egress, url: str, method: str = "GET") -> httpx.Response:
    http = egress.client(REGISTRY, {"endpoint": url}, Steps(), tenant_id="acme")
    return await http.request(method, url)


@pytest.mark.parametrize(
    ("method", "answer", "body", "connections"),
    [
        pytest.param("GET", HELLO, b"hello", 1, id="length"),
        pytest.param(
            "GET",
            OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX: 1\r\n\r\n",
            b"hello",
            1,
            id="chunks and trailers",
        ),
        pytest.param(
            "GET",
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HELLO,
            b"hello",
            1,
            id="hints",
        ),
        pytest.param("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", b"", 1, id="no content"),
        pytest.param("HEAD", OK + b"Content-Length: 5\r\n\r\n", b"", 2, id="asked for its head"),
        pytest.param(
            "GET",
            OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
            b"hello",
            2,
            id="close",
        ),
        pytest.param(
            "GET", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", 2, id="HTTP/1.0"
        ),
        pytest.param("GET", HELLO + HELLO, b"hello", 2, id="two answers to one question"),
        pytest.param("GET", HELLO + b"rubbish", b"hello", 2, id="rubbish after the answer"),
    ],
)
async def test_answer_ends_and_connection_is_kept_where_that_is_safe(
    method: str, answer: bytes, body: bytes, connections: int
) -> None:
    async with serving(saying(answer)) as server, open_egress(LOOPBACK) as egress:
        first = await ask(egress, server.url, method)
        second = await ask(egress, server.url, method)

    assert (first.content, second.content) == (body, body)
    assert (len(server.requests), server.connections) == (2, connections)


async def test_answer_may_end_with_its_connection() -> None:
    async with (
        serving(then_closing(OK + b"\r\nhel", b"lo")) as server,
        open_egress(LOOPBACK) as egress,
    ):
        assert (await ask(egress, server.url)).content == b"hello"


async def test_header_that_comes_in_pieces_is_put_together() -> None:
    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in OK + b"X-One: a b\r\nContent-Length: 1\r\n\r\n!":
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

    async with serving(behave) as server, open_egress(LOOPBACK) as egress:
        answer = await ask(egress, server.url)

    assert (answer.headers["x-one"], answer.reason_phrase, answer.text) == ("a b", "OK", "!")


def once_then(first: Behaviour, later: Behaviour) -> Behaviour:
    """Behaves otherwise from the second request of all on."""
    asked: list[bool] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(True)
        await (first if len(asked) == 1 else later)(reader, writer)

    return behave


async def test_kept_connection_that_is_closed_meanwhile_costs_no_check() -> None:
    closed_late = once_then(saying(HELLO), once_then(then_closing(), saying(HELLO)))
    async with serving(closed_late) as server, open_egress(LOOPBACK) as egress:
        await ask(egress, server.url)
        again = await ask(egress, server.url)

    assert again.text == "hello"
    assert (len(server.requests), server.connections) == (3, 2)


async def test_what_may_have_been_done_is_not_asked_again() -> None:
    closed_late = once_then(saying(HELLO), then_closing())
    async with serving(closed_late) as server, open_egress(LOOPBACK) as egress:
        await ask(egress, server.url)
        with pytest.raises(httpx.ReadError):
            await ask(egress, server.url, "POST")

    assert len(server.requests) == 2


async def test_check_that_is_cancelled_gives_its_connection_up() -> None:
    asked = asyncio.Event()

    async def hang_once(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()

    async with (
        serving(once_then(hang_once, saying(HELLO))) as server,
        open_egress(LOOPBACK) as egress,
    ):
        hanging = asyncio.create_task(ask(egress, server.url))
        await asked.wait()
        hanging.cancel()
        await asyncio.wait([hanging])

        assert hanging.cancelled()
        assert (await ask(egress, server.url)).text == "hello"
        assert server.connections == 2


async def test_large_body_is_taken_no_faster_than_it_is_read() -> None:
    sent = 0
    piece = bytes(64 * 1024)

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"\r\n")
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async with serving(pour) as server, open_egress(LOOPBACK) as egress:
        http = egress.client(REGISTRY, {"endpoint": server.url}, Steps(), tenant_id="acme")
        async with http.stream("GET", server.url):
            # Until the buffers of both sides are full: then nothing moves any more.
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.05)

    assert sent < 32 * BODY_LIMIT


@given(
    st.text(st.characters(max_codepoint=0x2FF), max_size=20),
    st.text(st.characters(max_codepoint=0x2FF), max_size=20),
)
async def test_no_header_makes_two_requests_of_one(name: str, value: str) -> None:
    async with open_egress(LOOPBACK) as egress, serving(saying(HELLO)) as server:
        http = egress.client(REGISTRY, {"endpoint": server.url}, Steps(), tenant_id="acme")
        try:
            await http.get(server.url, headers={f"X-{name}": value})
        except (httpx.LocalProtocolError, UnicodeEncodeError):
            assert server.requests == []
        else:
            [request] = server.requests
            assert request.count(b"\r\n") == request.count(b"\n") == request.count(b"\r") == 8
            assert request.endswith(b"\r\n\r\n")
