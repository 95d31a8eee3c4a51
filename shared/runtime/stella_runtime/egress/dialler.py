"""Resolves, judges, dials and secures, and times it: below this nothing opens a connection."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import NamedTuple, TypeVar

import aiohappyeyeballs
import httpx
import structlog

from stella_contracts.health import ErrorCode, StepResult
from stella_contracts.plugin import CheckFailed, Steps
from stella_runtime.egress.connection import Connection
from stella_runtime.egress.origins import Origin
from stella_runtime.egress.own_endpoints import OwnEndpoints
from stella_runtime.egress.policy import EgressPolicy
from stella_runtime.egress.proxy import Proxy, tunnel
from stella_runtime.egress.trust import Trust

log = structlog.get_logger()

Lookup = Callable[[str], Sequence[str]]
"""From a name to its addresses. Runs in a thread; raises socket.gaierror."""

ResultT = TypeVar("ResultT")

RESOLVE_SECONDS = 3.0
RESOLVE_THREADS = 32
CONNECT_SECONDS = 3.0
NEXT_ADDRESS_SECONDS = 0.25
"""After so long the next address of a name is tried as well (RFC 8305)."""


class Blocked(CheckFailed):
    """The egress policy forbids the request. The address is in the log, not in the message."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.BLOCKED_BY_POLICY, message)


def ask_system(host: str) -> Sequence[str]:
    """Resolve a name as every program on this machine does."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        # A label that is empty or too long.
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    return [str(address[0]) for *_, address in found]


class Route(NamedTuple):
    """Where a connection leads, and by whose rules: only a request with the same may use it."""

    origin: Origin
    policy: EgressPolicy
    authorities: str | None = None
    """Certificates (PEM) that are trusted besides the hub's own."""


class Dialler:
    """Opens connections, to addresses that the policy permits."""

    def __init__(
        self, trust: Trust, lookup: Lookup, *, own: OwnEndpoints, proxy: Proxy | None = None
    ) -> None:
        self._trust = trust
        self._lookup = lookup
        self._own = own
        self._proxy = proxy
        # Of its own: names that do not resolve would fill the loop's pool, which is small.
        self._threads = ThreadPoolExecutor(RESOLVE_THREADS, thread_name_prefix="resolve")

    async def dial(
        self, route: Route, steps: Steps, lost: Callable[[Connection], None]
    ) -> Connection:
        """
        Open a connection, and add to the steps how that went.

        `lost` is called when it ends. Raises Blocked, CheckFailed for authorities that are none,
        and httpx.ConnectError, ConnectTimeout or ProxyError.
        """
        origin = route.origin
        is_tls = origin.scheme == "https"
        tls = await self._trust.context(route.authorities) if is_tls else None
        dialled = await self._timed("connect", steps, self._connected(route))
        loop = asyncio.get_running_loop()
        try:
            secured = loop.create_connection(
                lambda: Connection(lost),
                sock=dialled,
                ssl=tls,
                server_hostname=origin.host if is_tls else None,
            )
            _, connection = await (self._timed("tls", steps, secured) if is_tls else secured)
        except BaseException:
            dialled.close()
            raise
        return connection

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _timed(self, name: str, steps: Steps, work: Awaitable[ResultT]) -> ResultT:
        started = time.perf_counter()
        try:
            done = await work
        except BaseException as error:
            steps.add(name, StepResult.FAILED, time.perf_counter() - started)
            if isinstance(error, OSError):
                raise _as_httpx(error) from error
            raise
        steps.add(name, StepResult.PASSED, time.perf_counter() - started)
        return done

    async def _connected(self, route: Route) -> socket.socket:
        host, port = route.origin.host, route.origin.port
        if self._proxy is None:
            addresses = await self._resolved(host)
            for address in addresses:
                self._judge(route, address)
            # The addresses that were judged are those that are dialled.
            return await _dialled(addresses, port)
        # Behind a proxy a name is the proxy's to resolve and to judge; what we know, we judge.
        self._judge(route, host)
        connected = await _dialled(await self._resolved(self._proxy.host), self._proxy.port)
        try:
            await tunnel(connected, self._proxy, host, port)
        except BaseException:
            connected.close()
            raise
        return connected

    async def _resolved(self, host: str) -> Sequence[str]:
        """Raises socket.gaierror when there is no answer in time or none at all."""
        if _is_address(host):
            return [host]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                return await loop.run_in_executor(self._threads, self._lookup, host)
        except TimeoutError as error:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from error

    def _judge(self, route: Route, address: str) -> None:
        host, port = route.origin.host, route.origin.port
        is_permitted = route.policy.permits(address) or (self._proxy and not _is_address(address))
        if not is_permitted or self._own.include(host, address, port):
            log.info("egress_blocked", host=host, address=address)
            raise Blocked("The endpoint's address is not one that this hub may call")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


async def _dialled(addresses: Sequence[str], port: int) -> socket.socket:
    async with asyncio.timeout(CONNECT_SECONDS):
        return await aiohappyeyeballs.start_connection(
            [_info(address, port) for address in dict.fromkeys(addresses)],
            happy_eyeballs_delay=NEXT_ADDRESS_SECONDS,
        )


def _info(
    address: str, port: int
) -> tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[object, ...]]:
    if ":" in address:
        return (
            socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
        )  # fmt: skip
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def _as_httpx(error: OSError) -> httpx.TransportError:
    """The exception that a plugin knows. The text stays behind."""
    # A name that is not resolved in time is a name that does not resolve.
    if isinstance(error, TimeoutError):
        return httpx.ConnectTimeout("No connection in time.")
    return httpx.ConnectError("No connection.")
