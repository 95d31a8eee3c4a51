"""What must never be called, whoever asks, and that no packet leaves for it."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest
from tests.integration.egress.answering import (
    HELLO,
    LOOPBACK,
    REGISTRY,
    names,
    saying,
    serving,
)

from stella_contracts.failures import failure_of
from stella_contracts.health import ErrorCode
from stella_contracts.manifest import Manifest
from stella_contracts.plugin import CheckFailed, Steps
from stella_runtime.egress import Egress, open_egress

REFUSED = {ErrorCode.BLOCKED_BY_POLICY, ErrorCode.MISCONFIGURED}
SECRET = {"Authorization": "Bearer hunter2"}


async def refusal(
    egress: Egress, url: str, *, endpoint: str | None = None, manifest: Manifest = REGISTRY
) -> ErrorCode:
    """Why a request with a credential fails."""
    http = egress.client(manifest, {"endpoint": endpoint or url}, Steps(), tenant_id="acme")
    try:
        async with asyncio.timeout(10):
            response = await http.get(url, headers=SECRET, follow_redirects=True)
    except CheckFailed as failed:
        return failed.code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return failure_of(error).code
    pytest.fail(f"It was not refused: {response!r}")


SPELLINGS_OF_LOOPBACK = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.01",
    "①②⑦.0.0.1",
    "127。0。0。1",
    "%31%32%37.0.0.1",
    "localhost",
    "LOCALHOST.",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "0.0.0.0",
    "0",
    "[::]",
    "user:password@127.0.0.1",
    "127.0.0.1\t",
    "127.0.0.1%00.test",
]


@pytest.mark.parametrize("host", SPELLINGS_OF_LOOPBACK)
async def test_no_spelling_reaches_loopback(host: str) -> None:
    async with serving(saying(HELLO)) as trap, open_egress() as egress:
        code = await refusal(egress, f"http://{host}:{trap.port}/")

        assert (code, trap.connections) in {(each, 0) for each in (*REFUSED, ErrorCode.DNS)}


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[::169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "168.63.129.16",
        "100.100.100.200",
        "255.255.255.255",
        "224.0.0.1",
    ],
)
async def test_metadata_is_blocked_even_where_private_networks_are_allowed(host: str) -> None:
    async with open_egress(LOOPBACK) as egress:
        code = await refusal(egress, f"http://{host}/latest/meta-data/")

    assert code in REFUSED


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param(["169.254.169.254"], id="metadata"),
        pytest.param(["10.0.0.1"], id="private"),
        pytest.param(["::ffff:169.254.169.254"], id="mapped"),
        pytest.param(["127.0.0.1", "169.254.169.254"], id="one of two"),
        pytest.param(["169.254.169.254", "127.0.0.1"], id="the other of two"),
    ],
)
async def test_name_is_refused_if_any_of_its_addresses_is(addresses: Sequence[str]) -> None:
    async with (
        serving(saying(HELLO)) as trap,
        open_egress(LOOPBACK, lookup=names(evil=addresses)) as egress,
    ):
        code = await refusal(egress, f"http://evil.test:{trap.port}/")

    assert (code, trap.connections) == (ErrorCode.BLOCKED_BY_POLICY, 0)


async def test_name_is_resolved_once_and_that_address_dialled() -> None:
    asked: list[str] = []

    def rebinding(host: str) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    async with (
        serving(saying(HELLO)) as server,
        open_egress(LOOPBACK, lookup=rebinding) as egress,
    ):
        url = f"http://rebinding.test:{server.port}/"
        http = egress.client(REGISTRY, {"endpoint": url}, Steps(), tenant_id="acme")
        response = await http.get(url)

    assert response.text == "hello"
    assert asked == ["rebinding.test"]
    assert b"Host: rebinding.test:" in server.requests[0]


async def test_secret_goes_to_no_other_origin() -> None:
    async with (
        serving(saying(HELLO)) as trap,
        open_egress(LOOPBACK, lookup=names(harbor=["127.0.0.1"], other=["127.0.0.1"])) as egress,
    ):
        endpoint = f"http://harbor.test:{trap.port}"
        others = [
            f"http://other.test:{trap.port}/",
            f"http://127.0.0.1:{trap.port}/",
            f"https://harbor.test:{trap.port}/",
            "http://harbor.test/",
            f"http://harbor.test:{trap.port}@other.test:{trap.port}/",
        ]
        codes = {await refusal(egress, url, endpoint=endpoint) for url in others}

    assert (codes, trap.connections) == ({ErrorCode.BLOCKED_BY_POLICY}, 0)


async def test_host_of_the_manifest_may_be_called() -> None:
    async with (
        serving(saying(HELLO), until=b"\0") as server,
        open_egress(LOOPBACK, lookup=names(auth=["127.0.0.1"])) as egress,
    ):
        manifest = REGISTRY.model_copy(update={"allowed_hosts": [f"auth.test:{server.port}"]})
        code = await refusal(egress, f"https://auth.test:{server.port}/", manifest=manifest)

    # It got as far as the handshake, which this server does not know.
    assert (code, server.connections) == (ErrorCode.TLS, 1)


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://other.test:{port}/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/",
        "http://user:password@127.0.0.1:{port}/",
    ],
)
async def test_redirect_leads_nowhere_else(location: str) -> None:
    async with (
        serving(saying(HELLO)) as trap,
        open_egress(LOOPBACK, lookup=names(other=["127.0.0.1"])) as egress,
    ):
        target = location.format(port=trap.port).encode()
        answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n" % target
        async with serving(saying(answer)) as server:
            code = await refusal(egress, server.url)

    assert (code, trap.connections) in {(each, 0) for each in REFUSED}


async def test_redirect_is_not_followed_unless_asked() -> None:
    answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /elsewhere\r\n\r\n"
    async with serving(saying(answer)) as server, open_egress(LOOPBACK) as egress:
        http = egress.client(REGISTRY, {"endpoint": server.url}, Steps(), tenant_id="acme")
        response = await http.get(server.url)

    assert response.status_code == 302
    assert len(server.requests) == 1


async def test_redirects_in_a_circle_end() -> None:
    answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /\r\n\r\n"
    async with serving(saying(answer)) as server, open_egress(LOOPBACK) as egress:
        code = await refusal(egress, server.url)

    assert code is ErrorCode.BAD_RESPONSE
    assert len(server.requests) <= 21
