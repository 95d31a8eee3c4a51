"""A partition between services and a server: the kernel's where that can be had, else a proxy's."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.namespaces import Namespace, can_be_made, namespace
from tests.support.processes import System
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

SERVERS = ("STELLA_DATABASE_URL", "STELLA_AMQP_URL", "STELLA_JWKS_URL")


@dataclass(frozen=True, slots=True)
class Parting:
    """The network of the services that are started while it is open."""

    _network: Namespace | TcpProxy

    def cut(self) -> None:
        """Nothing arrives, and nobody says so."""
        self._network.cut()

    def heal(self) -> None:
        self._network.heal()


@asynccontextmanager
async def parting(system: System, setting: str) -> AsyncIterator[Parting]:
    """
    Have services that are started from now on reach one server by a network that can be parted.

    `setting` is the environment variable that names the server.
    """
    before = system.environment
    async with AsyncExitStack() as stack:
        if not can_be_made():
            proxy = await stack.enter_async_context(tcp_proxy(before[setting]))
            system.environment = before | {setting: proxy.url(before[setting])}
            yield Parting(proxy)
            return
        inside = stack.enter_context(namespace())
        # A Unix socket is reached from everywhere.
        others = [name for name in SERVERS if urlsplit(before[name]).hostname]
        ways = dict.fromkeys(others, inside.this_machine) | {setting: inside.by_router}
        urls = {}
        for name, host in ways.items():
            proxy = await stack.enter_async_context(tcp_proxy(before[name], host=host))
            urls[name] = proxy.url(before[name])
        stack.push_async_callback(system.stop_all)
        system.environment, system.inside = before | urls, inside
        try:
            yield Parting(inside)
        finally:
            system.environment, system.inside = before, None
