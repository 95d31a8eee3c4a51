"""Resolves, judges and dials, and times it: below this nothing opens a connection."""

import asyncio
import socket
import ssl
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from stella_contracts.health import ErrorCode, StepResult
from stella_contracts.plugin import CheckFailed, Steps
from stella_runtime.egress.policy import EgressPolicy

log = structlog.get_logger()

Lookup = Callable[[str], Sequence[str]]
"""From a name to its addresses. Runs in a thread; raises socket.gaierror."""

RESOLVE_SECONDS = 3.0
RESOLVE_THREADS = 32
CONNECTIONS = 1000
CONNECTIONS_PER_HOST = 100
OPEN_AND_KEPT = 256
"""While more sockets than this are open, a connection is closed after its answer."""
KEPT_SECONDS = 5.0


class Blocked(CheckFailed):
    """The egress policy forbids the request. The address is in the log, not in the message."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.BLOCKED_BY_POLICY, message)


class Dial:
    """The connection of one request, as steps of the check."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._started = 0.0
        self._tls_started: float | None = None
        self.was_made = False

    def start(self) -> None:
        self.was_made = True
        self._started = time.perf_counter()

    def start_tls(self) -> None:
        self._tls_started = time.perf_counter()

    def end(self, result: StepResult) -> None:
        """Add the steps. What came last is what failed."""
        ended = time.perf_counter()
        if self._tls_started is None:
            self._steps.add("connect", result, ended - self._started)
        else:
            self._steps.add("connect", StepResult.PASSED, self._tls_started - self._started)
            self._steps.add("tls", result, ended - self._tls_started)

    def was_reused(self, *, tls: bool) -> None:
        """Say so once a check: the other requests of a check always share its connection."""
        if any(step.name == "connect" for step in self._steps.taken):
            return
        self._steps.add("connect", StepResult.SKIPPED)
        if tls:
            self._steps.add("tls", StepResult.SKIPPED)


current_dial: ContextVar[Dial | None] = ContextVar("current_dial", default=None)
"""The dial of the request that this task sends. aiohttp has no other way to hand it down
for new connections only: its tracing costs every request a tenth."""


class TimedContext(ssl.SSLContext):
    """Client settings of TLS that tell when a handshake begins."""

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        dial = current_dial.get()
        if dial is not None:
            dial.start_tls()
        return super().wrap_bio(*args, **kwargs)


def tls_context(authorities: str | None = None) -> ssl.SSLContext:
    """
    Verify certificates and names against the system's authorities, which SSL_CERT_FILE and
    SSL_CERT_DIR replace, or against those given as PEM.
    """
    context = TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if authorities is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=authorities)
    return context


def ask_system(host: str) -> Sequence[str]:
    """Resolve a name as every program on this machine does."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        # A label that is empty or too long.
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    return [str(address[0]) for *_, address in found]


class GuardedResolver(AbstractResolver):
    """Gives the addresses of a name if every one of them may be dialled."""

    def __init__(self, policy: EgressPolicy, lookup: Lookup) -> None:
        self._policy = policy
        self._lookup = lookup
        # Of its own: names that do not resolve would fill the loop's pool, which is small.
        self._threads = ThreadPoolExecutor(RESOLVE_THREADS, thread_name_prefix="resolve")

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp asks for any
    ) -> list[ResolveResult]:
        """Raises Blocked, or socket.gaierror when there is no answer in time or none at all."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                addresses = await loop.run_in_executor(self._threads, self._lookup, host)
        except TimeoutError as error:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from error
        for address in addresses:
            check_address(self._policy, address, host=host)
        return [_result(host, address, port) for address in dict.fromkeys(addresses)]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _result(host: str, address: str, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=0,
        flags=socket.AI_NUMERICHOST,
    )


def check_address(policy: EgressPolicy, address: str, *, host: str) -> None:
    """Raise Blocked unless the address may be dialled."""
    if policy.permits(address):
        return
    log.info("egress_blocked", host=host, address=address)
    raise Blocked("The endpoint's address is not one that this hub may call")


class GuardedConnector(aiohttp.TCPConnector):
    """Pools connections. Each was judged by its address when it was made."""

    def __init__(
        self, policy: EgressPolicy, resolver: AbstractResolver, tls: ssl.SSLContext
    ) -> None:
        super().__init__(
            resolver=resolver,
            ssl=tls,
            limit=CONNECTIONS,
            limit_per_host=CONNECTIONS_PER_HOST,
            keepalive_timeout=KEPT_SECONDS,
            socket_factory=self._open_socket,
        )
        self._policy = policy
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    @property
    def open_sockets(self) -> int:
        return len(self._sockets)

    def _open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        # The resolver has judged names; addresses in URLs come here without it.
        check_address(self._policy, str(address[0]), host=str(address[0]))
        opened = socket.socket(family, kind, protocol)
        self._sockets.add(opened)
        return opened

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,
    ) -> ResponseHandler:
        dial = current_dial.get()
        if dial is None:
            return await super()._create_connection(req, traces, timeout)
        dial.start()
        try:
            made = await super()._create_connection(req, traces, timeout)
        except BaseException:
            dial.end(StepResult.FAILED)
            raise
        dial.end(StepResult.PASSED)
        return made

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        # aiohttp bounds what is in use, and not what waits to be used again.
        full = self.open_sockets > OPEN_AND_KEPT
        super()._release(key, protocol, should_close=should_close or full)
