"""What the process of a service has beside the service: a database, a bus, a relay between them."""

from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from stella_runtime.lifecycle import supervise
from stella_runtime.messaging.bus import Bus
from stella_runtime.messaging.rabbitmq import open_bus
from stella_runtime.messaging.relay import Relay
from stella_runtime.persistence import Database, open_engine
from stella_runtime.settings import ProcessSettings
from stella_runtime.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Process:
    """A process that is open, and runs nothing yet."""

    database: Database
    bus: Bus
    metrics: Metrics
    relay: Relay

    async def run(self, *parts: Coroutine[Any, Any, None]) -> None:
        """Run the parts of a service until a signal; the relay goes last (see `supervise`)."""
        await supervise(*parts, self.database.listen(self.relay.called), self.relay.run())


@asynccontextmanager
async def process(settings: ProcessSettings, *, name: str) -> AsyncIterator[Process]:
    """Open one; `name` is what the database and the broker call it. Raises as `open_bus` does."""
    metrics = Metrics(tenants=settings.metrics_tenants)
    async with AsyncExitStack() as stack:
        database = Database(
            open_engine(
                settings.database_url.get_secret_value(),
                pool_size=settings.database_pool_size,
                application=name,
            )
        )
        stack.push_async_callback(database.close)
        bus = await stack.enter_async_context(
            open_bus(
                settings.amqp_url.get_secret_value(),
                name=name,
                drain_seconds=settings.drain_seconds,
                meter=metrics,
            )
        )
        relay = Relay(database, bus)
        database.announce_commits_to(relay.wake)
        yield Process(database, bus, metrics, relay)
