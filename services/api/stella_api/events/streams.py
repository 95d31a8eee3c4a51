"""The streams of this process: opened for a caller, bounded, ended together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from stella_api.authentication import Actor
from stella_api.events.places import Places
from stella_api.events.stream import GONE, EventStream, Wanted
from stella_api.events.watch import EventWatch
from stella_api.settings import ApiSettings
from stella_runtime.messaging.bus import Bus
from stella_runtime.persistence import Database
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()

READS_AT_ONCE = 3
"""Of the pool's connections: streams that all have news must not keep requests waiting."""


class EventStreams:
    """Opens streams, as many as the settings allow."""

    def __init__(
        self, settings: ApiSettings, database: Database, bus: Bus, metrics: Metrics
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._places = Places(settings.signing_key)
        self._watch = EventWatch(
            database,
            bus,
            metrics,
            streams=settings.event_streams,
            streams_per_tenant=settings.event_streams_per_tenant,
        )
        self._reading = asyncio.Semaphore(READS_AT_ONCE)
        self._heartbeat_seconds = settings.event_heartbeat_seconds
        self.stall_seconds = settings.event_stall_seconds

    async def run(self) -> None:
        """Wake streams until cancelled. Then they end, and no other begins."""
        await self._watch.run()

    @asynccontextmanager
    async def opened(self, actor: Actor, wanted: Wanted) -> AsyncIterator[EventStream]:
        """
        A stream that is ready to be sent.

        Raises TooManyStreams, StreamsBusy, StreamsClosing or DatabaseUnavailable.
        """
        with self._watch.listening(actor.tenant_id) as listener:
            stream = EventStream(
                self._database,
                self._places,
                actor,
                wanted,
                listener,
                reading=self._reading,
                heartbeat_seconds=self._heartbeat_seconds,
                ended=self._tell,
            )
            await stream.open()
            try:
                yield stream
            finally:
                stream.end(GONE)

    def _tell(self, reason: str) -> None:
        self._metrics.event_stream_ended(reason)
        log.info("event_stream_ended", reason=reason)
