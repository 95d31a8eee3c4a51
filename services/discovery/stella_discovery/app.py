"""Builds the parts, scans once at start, then consumes."""

import asyncio
from contextlib import AsyncExitStack

import structlog

from stella_contracts.errors import Unavailable
from stella_contracts.messages import DiscoverPlugins
from stella_discovery.handlers import Tools, discover_plugins, scan_plugins
from stella_discovery.settings import DiscoverySettings
from stella_runtime.ids import new_id
from stella_runtime.messaging.backoff import Backoff
from stella_runtime.messaging.bus import Bus, Delivery
from stella_runtime.messaging.in_process import InProcessBus
from stella_runtime.messaging.topology import DISCOVER
from stella_runtime.operations import Dependency, serving_operations
from stella_runtime.persistence import Database, open_engine
from stella_runtime.plugin_host.scanner import Sources, scan_in_thread
from stella_runtime.process import process
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()

NAME = "stella-discovery"


class FirstScanPending(Unavailable):
    """Nobody has looked at the plugin paths since this process started."""

    code = "first_scan_pending"

    def __init__(self) -> None:
        super().__init__("The first scan of the plugin paths has not finished.")


class Discovery:
    """The service as a part of a process, its own or one that it shares."""

    def __init__(self, sources: Sources, database: Database, bus: Bus, metrics: Metrics) -> None:
        self._bus = bus
        self._tools = Tools(
            database=database, bus=bus, scan=lambda: scan_in_thread(sources), metrics=metrics
        )
        self.scanned = asyncio.Event()
        """Set once the first scan is committed."""

    async def run(self) -> None:
        """Scan, then serve commands, until cancelled. A scan that runs is finished."""
        await self._scan_at_start()
        # One at a time: a second scan at once could only find the same.
        async with self._bus.consume(DISCOVER, self._handle, prefetch=1):
            await asyncio.Event().wait()

    async def scan_once(self) -> None:
        """Scan and commit. Raises Unavailable."""
        await scan_plugins(new_id(), self._tools)
        self.scanned.set()

    async def check(self) -> None:
        """Raise Unavailable until the first scan is committed."""
        if not self.scanned.is_set():
            raise FirstScanPending

    async def _scan_at_start(self) -> None:
        backoff = Backoff(first=0.2)
        while True:
            try:
                return await self.scan_once()
            except Unavailable as error:
                log.warning("plugins_not_scanned", reason=str(error))
                await asyncio.sleep(backoff.next())

    async def _handle(self, delivery: Delivery) -> None:
        await discover_plugins(DiscoverPlugins.model_validate_json(delivery.body), self._tools)


async def serve(settings: DiscoverySettings) -> None:
    """Run until a signal, or with `once` until the paths were scanned."""
    if settings.once:
        await _scan_once(settings)
        return
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(process(settings, name=NAME))
        database, bus, metrics = opened.database, opened.bus, opened.metrics
        discovery = Discovery(settings.sources, database, bus, metrics)
        dependencies = {
            "database": Dependency(database.check),
            "bus": Dependency(bus.check),
            "scan": Dependency(discovery.check),
        }
        await stack.enter_async_context(
            serving_operations(dependencies, metrics, host=settings.host, port=settings.port)
        )
        await opened.run(discovery.run())


async def _scan_once(settings: DiscoverySettings) -> None:
    """Needs no broker: the events are in the outbox, for whichever process runs a relay."""
    engine = open_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        application=NAME,
    )
    database = Database(engine)
    try:
        discovery = Discovery(settings.sources, database, InProcessBus(), Metrics())
        await discovery.scan_once()
        await database.call_others()
    finally:
        await database.close()
