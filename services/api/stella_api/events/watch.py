"""Who listens in this process: a bounded number, woken when their tenant has events."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from stella_contracts.errors import StreamsBusy, StreamsClosing, TooManyStreams, Unavailable
from stella_runtime.messaging.bus import Bus
from stella_runtime.messaging.topology import EVENTS
from stella_runtime.persistence import Database
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()

POLL_SECONDS = 1.0


@dataclass(eq=False, slots=True)
class Listener:
    """One stream: `news` is set when there may be events to read, or the end has come."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    closing: bool = False


@dataclass(slots=True)
class _Tenant:
    """The listeners of one tenant, and the subscription that they share."""

    listeners: set[Listener] = field(default_factory=set)
    hearing: asyncio.Task[None] | None = None


class EventWatch:
    """
    Wakes listeners: at once by the bus, or after a second by looking at the database.

    The bus is told whose events are wanted and no more, since one that anybody takes no longer
    counts as unrouted.
    """

    def __init__(
        self,
        database: Database,
        bus: Bus,
        metrics: Metrics,
        *,
        streams: int,
        streams_per_tenant: int,
    ) -> None:
        self._database = database
        self._bus = bus
        self._metrics = metrics
        self._streams = streams
        self._streams_per_tenant = streams_per_tenant
        self._tenants: dict[str, _Tenant] = {}
        self._count = 0
        self._settled_at = 0
        self._closing = False

    @contextmanager
    def listening(self, tenant_id: str) -> Iterator[Listener]:
        """
        Be woken until the block ends.

        Raises TooManyStreams when the tenant has as many as it may, StreamsBusy when the process
        has, and StreamsClosing while it stops.
        """
        if self._closing:
            raise StreamsClosing
        if self._count >= self._streams:
            raise StreamsBusy
        tenant = self._tenants.get(tenant_id) or _Tenant()
        if len(tenant.listeners) >= self._streams_per_tenant:
            raise TooManyStreams(self._streams_per_tenant)
        self._tenants[tenant_id] = tenant
        listener = Listener()
        tenant.listeners.add(listener)
        self._changed(+1)
        if tenant.hearing is None:
            tenant.hearing = asyncio.create_task(self._hear(tenant_id))
        try:
            yield listener
        finally:
            self._changed(-1)
            tenant.listeners.discard(listener)
            if not tenant.listeners:
                del self._tenants[tenant_id]
                tenant.hearing.cancel()

    async def run(self) -> None:
        """Look until cancelled. Then every stream is told to end, and no other begins."""
        try:
            while True:
                await asyncio.sleep(POLL_SECONDS)
                try:
                    await self._look()
                except Unavailable as error:
                    log.warning("events_not_looked_for", reason=str(error))
        finally:
            self._closing = True
            for tenant in self._tenants.values():
                for listener in tenant.listeners:
                    listener.closing = True
                    listener.news.set()

    async def _look(self) -> None:
        asked = tuple(self._tenants)
        if not asked:
            return
        async with self._database.system_transaction() as transaction:
            news = await transaction.event_news.look(asked, since=self._settled_at)
        self._settled_at = news.settled_at
        for tenant_id in self._tenants:
            # Who came while we asked may have read before what we asked for was settled.
            if tenant_id in news.tenants or tenant_id not in asked:
                self._wake(tenant_id)

    async def _hear(self, tenant_id: str) -> None:
        async with self._bus.subscribe(EVENTS, [f"#.{tenant_id}"]) as deliveries:
            async for _ in deliveries:
                self._wake(tenant_id)

    def _wake(self, tenant_id: str) -> None:
        tenant = self._tenants.get(tenant_id)
        for listener in tenant.listeners if tenant else ():
            listener.news.set()

    def _changed(self, by: int) -> None:
        self._count += by
        self._metrics.event_streams(self._count)
