"""Resolves, judges, dials and secures, and times it: below this nothing opens a connection."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import TypeVar

import aiohappyeyeballs
import httpx
import structlog

from stella_contracts.health import ErrorCode, StepResult
from stella_contracts.plugin import CheckFailed, Steps
from stella_runtime.egress.connection import Connection
from stella_runtime.egress.origins import Origin
from stella_runtime.egress.policy import EgressPolicy

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


def tls_context(authorities: str | None = None) -> ssl.SSLContext:
    """
    Verify certificates and names against the system's authorities, which SSL_CERT_FILE and
    SSL_CERT_DIR replace, or against those given as PEM.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if authorities is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=authorities)
    return context


class Dialler:
    """Opens connections, to addresses that the policy permits."""

    def __init__(self, policy: EgressPolicy, lookup: Lookup, tls: ssl.SSLContext) -> None:
        self._policy = policy
        self._lookup = lookup
        self._tls = tls
        # Of its own: names that do not resolve would fill the loop's pool, which is small.
        self._threads = ThreadPoolExecutor(RESOLVE_THREADS, thread_name_prefix="resolve")

    async def dial(
        self, origin: Origin, steps: Steps, lost: Callable[[Connection], None]
    ) -> Connection:
        """
        Open a connection, and add to the steps how that went.

        `lost` is called when it ends. Raises Blocked, httpx.ConnectError or ConnectTimeout.
        """
        dialled = await self._timed("connect", steps, self._connected(origin))
        loop = asyncio.get_running_loop()
        is_tls = origin.scheme == "https"
        try:
            secured = loop.create_connection(
                lambda: Connection(lost),
                sock=dialled,
                ssl=self._tls if is_tls else None,
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

    async def _connected(self, origin: Origin) -> socket.socket:
        addresses = await self._resolved(origin.host)
        for address in addresses:
            self._judge(origin.host, address)
        async with asyncio.timeout(CONNECT_SECONDS):
            # The addresses that were judged are those that are dialled.
            return await aiohappyeyeballs.start_connection(
                [_info(address, origin.port) for address in dict.fromkeys(addresses)],
                happy_eyeballs_delay=NEXT_ADDRESS_SECONDS,
            )

    async def _resolved(self, host: str) -> Sequence[str]:
        """Raises socket.gaierror when there is no answer in time or none at all."""
        try:
            return [str(ip_address(host))]
        except ValueError:
            pass
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                return await loop.run_in_executor(self._threads, self._lookup, host)
        except TimeoutError as error:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from error

    def _judge(self, host: str, address: str) -> None:
        if not self._policy.permits(address):
            log.info("egress_blocked", host=host, address=address)
            raise Blocked("The endpoint's address is not one that this hub may call")


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
