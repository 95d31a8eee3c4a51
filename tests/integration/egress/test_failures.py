"""What goes wrong on the way to a provider, over real sockets, and what it is called."""

import gzip
import socket
from datetime import timedelta

import httpx
import psutil
import pytest
from tests.integration.egress.answering import (
    HELLO,
    LOOPBACK,
    REGISTRY,
    Behaviour,
    for_ever,
    hanging,
    names,
    resetting,
    saying,
    serving,
    then_closing,
)
from tests.support.certificates import server_certificate

from stella_contracts.failures import failure_of
from stella_contracts.health import ErrorCode, StepResult
from stella_contracts.plugin import CheckFailed, Steps
from stella_runtime.egress import Egress, open_egress
from stella_runtime.egress.transport import BODY_LIMIT

BOMB = gzip.compress(bytes(64 * BODY_LIMIT))
TWICE = gzip.compress(BOMB)
OK = b"HTTP/1.1 200 OK\r\n"


def coded(coding: bytes, body: bytes) -> bytes:
    length = str(len(body)).encode()
    return OK + b"Content-Encoding: %b\r\nContent-Length: %b\r\n\r\n%b" % (coding, length, body)


async def failure(egress: Egress, url: str, steps: Steps | None = None) -> CheckFailed:
    """How a request to the endpoint fails, as the host records it."""
    http = egress.client(REGISTRY, {"endpoint": url}, steps or Steps(), tenant_id="acme")
    try:
        response = await http.get(url, timeout=httpx.Timeout(None, read=0.5))
    except CheckFailed as raised:
        return raised
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return failure_of(error)
    pytest.fail(f"It did not fail: {response!r}")


@pytest.mark.parametrize(
    ("behave", "code", "message"),
    [
        pytest.param(hanging, ErrorCode.TIMEOUT, "No answer in time", id="hangs after accepting"),
        pytest.param(
            saying(OK + b"Content-Length: 9\r\n\r\nhello"),
            ErrorCode.TIMEOUT,
            "No answer in time",
            id="hangs in the body",
        ),
        pytest.param(resetting, ErrorCode.CONNECT, "The connection was lost", id="resets"),
        pytest.param(then_closing(), ErrorCode.CONNECT, "The connection was lost", id="closes"),
        pytest.param(
            then_closing(OK + b"Content-Length: 9\r\n\r\nhello"),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="body too short",
        ),
        pytest.param(
            then_closing(OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n"),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="not chunked as it says",
        ),
        pytest.param(
            saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="not HTTP",
        ),
        pytest.param(
            for_ever(OK, b"X-More: 1\r\n"),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="headers without end",
        ),
        pytest.param(
            for_ever(OK + b"X-More: ", b"1" * 1000),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="header without end",
        ),
        pytest.param(
            for_ever(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="hints without end",
        ),
        pytest.param(
            for_ever(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: 1\r\n" * 10_000),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="trailers without end",
        ),
        pytest.param(
            saying(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello"),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="two lengths",
        ),
        pytest.param(
            saying(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="another protocol",
        ),
        pytest.param(
            for_ever(OK + b"\r\n", bytes(10_000)),
            ErrorCode.BAD_RESPONSE,
            f"The answer has more than {BODY_LIMIT} bytes",
            id="body without end",
        ),
        pytest.param(
            saying(coded(b"gzip", BOMB)),
            ErrorCode.BAD_RESPONSE,
            f"The answer has more than {BODY_LIMIT} bytes",
            id="gzip bomb",
        ),
        pytest.param(
            saying(coded(b"gzip, gzip", TWICE)),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="gzip twice",
        ),
        pytest.param(
            saying(coded(b"gzip", BOMB[:-9])),
            ErrorCode.BAD_RESPONSE,
            f"The answer has more than {BODY_LIMIT} bytes",
            id="gzip bomb cut off",
        ),
        pytest.param(
            saying(coded(b"gzip", gzip.compress(b"hello")[:-9])),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="gzip cut off",
        ),
        pytest.param(
            saying(coded(b"gzip", b"hello")),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="not gzip as it says",
        ),
        pytest.param(
            saying(coded(b"br", b"hello")),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="coding not asked for",
        ),
    ],
)
async def test_answer_that_is_none_is_named(
    behave: Behaviour, code: ErrorCode, message: str
) -> None:
    async with serving(behave) as server, open_egress(LOOPBACK) as egress:
        failed = await failure(egress, server.url)

    assert (failed.code, failed.message) == (code, message)


async def test_refused_connection_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    steps = Steps()

    async with open_egress(LOOPBACK, lookup=names(both=["127.0.0.1", "127.0.0.2"])) as egress:
        failed = await failure(egress, f"http://both.test:{port}", steps)

    assert (failed.code, failed.message) == (ErrorCode.CONNECT, "The connection was refused")
    assert [(step.name, step.result) for step in steps.taken] == [("connect", StepResult.FAILED)]


@pytest.mark.parametrize("host", ["unknown.test", "a..test", f"{'a' * 64}.test"])
async def test_name_that_does_not_resolve_is_named(host: str) -> None:
    async with open_egress(LOOPBACK, lookup=names()) as egress:
        failed = await failure(egress, f"http://{host}")

    assert failed.code in {ErrorCode.DNS, ErrorCode.MISCONFIGURED}


async def test_name_that_the_system_does_not_know_is_named() -> None:
    async with open_egress(LOOPBACK) as egress:
        failed = await failure(egress, "http://name.invalid")

    assert (failed.code, failed.message) == (ErrorCode.DNS, "The host name does not resolve")


@pytest.mark.parametrize(
    ("host", "valid_for", "trusted", "reason"),
    [
        pytest.param("127.0.0.1", timedelta(hours=-1), True, "expired", id="expired"),
        pytest.param("other.test", timedelta(days=1), True, "Hostname mismatch", id="wrong host"),
        pytest.param("127.0.0.1", timedelta(days=1), False, "self-signed", id="unknown authority"),
    ],
)
async def test_certificate_that_is_refused_is_named(
    host: str, valid_for: timedelta, trusted: bool, reason: str
) -> None:
    certificate = server_certificate(valid_for=valid_for)
    authorities = certificate.certificate.decode() if trusted else None
    steps = Steps()

    async with (
        serving(saying(HELLO), tls=certificate.server_context()) as server,
        open_egress(LOOPBACK, authorities=authorities, lookup=names(other=["127.0.0.1"])) as egress,
    ):
        failed = await failure(egress, f"https://{host}:{server.port}", steps)

    assert failed.code is ErrorCode.TLS
    assert reason in failed.message
    assert [(step.name, step.result) for step in steps.taken] == [
        ("connect", StepResult.PASSED),
        ("tls", StepResult.FAILED),
    ]
    assert server.requests == []


async def test_port_without_tls_is_named() -> None:
    async with (
        serving(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"), until=b"\0") as server,
        open_egress(LOOPBACK) as egress,
    ):
        failed = await failure(egress, f"https://127.0.0.1:{server.port}")

    assert (failed.code, failed.message) == (ErrorCode.TLS, "The TLS handshake failed")


@pytest.mark.parametrize(
    "behave",
    [
        pytest.param(for_ever(OK + b"\r\n", bytes(256 * 1024)), id="body without end"),
        pytest.param(for_ever(OK, b"X-More: %b\r\n" % (b"1" * 8000)), id="headers without end"),
        pytest.param(saying(coded(b"gzip", BOMB)), id="gzip bomb"),
    ],
)
async def test_memory_stays_flat_whatever_comes(behave: Behaviour) -> None:
    process = psutil.Process()
    async with serving(behave) as server, open_egress(LOOPBACK) as egress:
        await failure(egress, server.url)
        before = process.memory_info().rss
        for _ in range(50):
            await failure(egress, server.url)
        grown = process.memory_info().rss - before

    # Fifty of the answers would be fifty megabytes at least, and those without end any number.
    assert grown < 16 * BODY_LIMIT
