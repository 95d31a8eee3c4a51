"""What an operator, or an integration, may change of the way out, and what nobody may."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from tests.integration.egress.answering import (
    HELLO,
    LOOPBACK,
    REGISTRY,
    Server,
    names,
    saying,
    serving,
)
from tests.support.certificates import server_certificate

from stella_contracts.failures import failure_of
from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed, Steps
from stella_runtime.egress import Egress, Proxy, open_egress


async def outcome(
    egress: Egress, url: str, settings: Mapping[str, Any] | None = None, tenant_id: str = "acme"
) -> str:
    """The text of the answer, or the code of what kept it away."""
    http = egress.client(
        REGISTRY, {"endpoint": url, **(settings or {})}, Steps(), tenant_id=tenant_id
    )
    try:
        return (await http.get(url)).text
    except CheckFailed as failed:
        return failed.code
    except httpx.HTTPError as error:
        return failure_of(error).code


async def test_private_network_of_one_tenant_is_closed_to_the_others() -> None:
    async with (
        serving(saying(HELLO)) as server,
        open_egress(allow_by_tenant={"acme": LOOPBACK}) as egress,
    ):
        # In this order, so that a connection is there that the other tenant must not be given.
        mine = await outcome(egress, server.url, tenant_id="acme")
        others = await outcome(egress, server.url, tenant_id="umbrella")

    assert (mine, others) == ("hello", ErrorCode.BLOCKED_BY_POLICY)
    assert server.connections == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.2", "[::ffff:127.0.0.1]", "hub.test", "alias.test"]
)
@pytest.mark.parametrize("configured", ["127.0.0.1", "hub.test", "0.0.0.0"])
async def test_hub_itself_is_no_tool(host: str, configured: str) -> None:
    lookup = names(hub=["127.0.0.1"], alias=["127.0.0.1"])

    def look_up(host: str) -> Any:
        return [host] if host[0].isdigit() else lookup(host)

    async with (
        serving(saying(HELLO)) as hub,
        serving(saying(HELLO)) as tool,
        open_egress(LOOPBACK, own=[(configured, hub.port)], lookup=look_up) as egress,
    ):
        at_the_hub = await outcome(egress, f"http://{host}:{hub.port}/")
        at_the_tool = await outcome(egress, tool.url)

    assert (at_the_hub, at_the_tool) == (ErrorCode.BLOCKED_BY_POLICY, "hello")
    assert hub.connections == 0


async def test_hub_whose_name_does_not_resolve_yet_is_guarded_by_its_name() -> None:
    known: dict[str, list[str]] = {}

    def look_up(host: str) -> Any:
        return names(**known)(host)

    async with (
        serving(saying(HELLO)) as own,
        open_egress(LOOPBACK, own=[("hub.test", own.port)], lookup=look_up) as egress,
    ):
        known["hub"] = ["127.0.0.1"]
        assert await outcome(egress, f"http://hub.test:{own.port}") == ErrorCode.BLOCKED_BY_POLICY


async def test_authority_of_an_integration_is_believed_for_that_one_alone() -> None:
    certificate = server_certificate()
    bundle = {"caBundle": certificate.certificate.decode()}
    async with (
        serving(saying(HELLO), tls=certificate.server_context()) as server,
        open_egress(LOOPBACK) as egress,
    ):
        url = f"https://127.0.0.1:{server.port}"
        trusting = await outcome(egress, url, bundle)
        others = await outcome(egress, url)
        broken = await outcome(egress, url, {"caBundle": "-----BEGIN CERTIFICATE-----"})

    assert (trusting, others, broken) == ("hello", ErrorCode.TLS, ErrorCode.MISCONFIGURED)


@asynccontextmanager
async def proxying(answer: bytes = b"HTTP/1.1 200 Connected\r\n\r\n") -> AsyncIterator[Server]:
    """A proxy that connects every host to 127.0.0.1, or answers otherwise."""

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        if b" 200 " not in answer:
            return
        port = int(proxy.requests[-1].split(b" ")[1].rpartition(b":")[2])
        to_host = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pour(reader, to_host[1]), pour(to_host[0], writer))

    async with serving(tunnel) as proxy:
        yield proxy


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while received := await reader.read(65536):
        writer.write(received)
    writer.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy_carries_every_connection_and_resolves_the_names(scheme: str) -> None:
    certificate = server_certificate()
    tls = certificate.server_context() if scheme == "https" else None
    async with (
        serving(saying(HELLO), tls=tls) as tool,
        proxying() as proxy,
        open_egress(
            proxy=Proxy.parse(f"http://stella:p%40ss@127.0.0.1:{proxy.port}"),
            authorities=certificate.certificate.decode(),
            lookup=names(),
        ) as egress,
    ):
        url = f"{scheme}://localhost:{tool.port}/"
        assert [await outcome(egress, url), await outcome(egress, url)] == ["hello", "hello"]

    [asked] = proxy.requests
    assert asked.startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % tool.port)
    assert b"\r\nProxy-Authorization: Basic c3RlbGxhOnBAc3M=\r\n" in asked
    assert not any(b"Proxy-Authorization" in request for request in tool.requests)


async def test_proxy_does_not_open_what_is_closed() -> None:
    async with (
        proxying() as proxy,
        open_egress(proxy=Proxy.parse(f"http://127.0.0.1:{proxy.port}")) as egress,
    ):
        codes = {
            await outcome(egress, f"http://{host}:80/")
            for host in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]")
        }

    assert (codes, proxy.connections) == ({ErrorCode.BLOCKED_BY_POLICY}, 0)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 403 Forbidden\r\n\r\n", b"SSH-2.0-OpenSSH\r\n\r\n", b"x" * 20_000]
)
async def test_proxy_that_refuses_is_a_failure_to_connect(answer: bytes) -> None:
    async with (
        proxying(answer) as proxy,
        open_egress(proxy=Proxy.parse(f"http://127.0.0.1:{proxy.port}")) as egress,
    ):
        assert await outcome(egress, "http://tool.test/") == ErrorCode.CONNECT


@pytest.mark.parametrize(
    "url",
    ["https://proxy.test", "proxy.test:3128", "http://", "http://proxy.test/path", "socks5://a"],
)
def test_proxy_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="http://host:port") as refused:
        Proxy.parse(url.replace("://", "://user:hunter2@"))

    assert "hunter2" not in str(refused.value)
