"""The bus on RabbitMQ."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import structlog

from stella_contracts.errors import BusUnavailable
from stella_runtime.messaging.backoff import Backoff
from stella_runtime.messaging.bus import Delivery, Depth, Handler, Message
from stella_runtime.messaging.connection import Link
from stella_runtime.messaging.consumer import Consumer, Listener
from stella_runtime.messaging.depths import Depths
from stella_runtime.messaging.meter import Meter, NoMeter
from stella_runtime.messaging.publisher import Publisher
from stella_runtime.messaging.subscription import Subscription
from stella_runtime.messaging.topology import TOPOLOGY, Topology

log = structlog.get_logger()

START_SECONDS = 15.0
SUBSCRIBE_SECONDS = 5.0


class RabbitMQBus:
    """See `open_bus`."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        topology: Topology = TOPOLOGY,
        drain_seconds: float = 10.0,
        meter: Meter,
    ) -> None:
        # Two connections: a broker short of memory stops reading from those that publish, and
        # acknowledgements must not wait there.
        self.publishing = Link(url, name=f"{name}: publish", topology=topology)
        self.consuming = Link(url, name=f"{name}: consume", topology=topology)
        self.publisher = Publisher(self.publishing, meter=meter)
        self.depths = Depths(self.consuming)
        self._meter = meter
        self._topology = topology
        self._drain_seconds = drain_seconds

    async def publish(self, message: Message) -> None:
        await self.publisher.publish(message)

    @asynccontextmanager
    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> AsyncIterator[None]:
        rules = self._topology.queue(queue)
        consumer = Consumer(
            self.consuming, self.publisher, rules, handler, prefetch=prefetch, meter=self._meter
        )
        async with running(consumer.keep):
            try:
                yield
            finally:
                await consumer.stop(self._drain_seconds)

    @asynccontextmanager
    async def subscribe(
        self, exchange: str, patterns: Sequence[str]
    ) -> AsyncIterator[AsyncIterator[Delivery]]:
        subscription = Subscription(self._topology.exchange(exchange).name, patterns)
        listener = Listener(self.consuming, subscription)
        async with running(listener.keep):
            with suppress(TimeoutError):
                # When the broker is away, later is better than never.
                async with asyncio.timeout(SUBSCRIBE_SECONDS):
                    await listener.listening.wait()
            yield subscription

    async def measure(self, queues: Sequence[str] | None = None) -> Mapping[str, Depth]:
        if queues is None:
            queues = [queue.name for queue in self._topology.queues]
        return await self.depths.measure(queues)

    async def check(self) -> None:
        problem = self.publisher.problem or self.consuming.problem
        if problem:
            raise BusUnavailable(problem)


@asynccontextmanager
async def open_bus(
    url: str,
    *,
    name: str = "stella",
    topology: Topology = TOPOLOGY,
    drain_seconds: float = 10.0,
    meter: Meter | None = None,
) -> AsyncIterator[RabbitMQBus]:
    """
    Open the bus at an AMQP URL; `name` is how the broker lists its connections.

    A broker that is away does not keep us from starting: connecting goes on in the background,
    `check` says why it does not work yet, and publishing raises BusUnavailable meanwhile.
    Raises TopologyConflict when the broker has a queue or exchange that differs from ours.
    """
    bus = RabbitMQBus(
        url, name=name, topology=topology, drain_seconds=drain_seconds, meter=meter or NoMeter()
    )
    async with (
        running(bus.publishing.keep),
        running(bus.consuming.keep),
        running(bus.publisher.keep),
        running(bus.depths.keep),
    ):
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await bus.publishing.tried.wait()
                await bus.consuming.tried.wait()
                if bus.publishing.problem is None:
                    await bus.publisher.opened.wait()
        conflict = bus.publishing.conflict or bus.consuming.conflict
        if conflict is not None:
            raise conflict
        yield bus


@asynccontextmanager
async def running(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run something endless beside the body, and end it with the body."""
    task = asyncio.create_task(_endlessly(work))
    try:
        yield
    finally:
        # More than once, if need be: `wait_for` of Python 3.11, which the library uses, now and
        # then swallows a cancellation.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1)


async def _endlessly(work: Callable[[], Awaitable[None]]) -> None:
    backoff = Backoff(first=1.0, limit=30.0)
    while True:
        try:
            await work()
        except Exception:
            log.exception("bus_task_failed")
        await asyncio.sleep(backoff.next())
