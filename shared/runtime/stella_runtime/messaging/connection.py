"""A connection to the broker that is made again whenever it is lost, and channels on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NoReturn

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    ChannelPreconditionFailed,
    DeliveryError,
    ProbableAuthenticationError,
)
from pamqp.common import FieldTable

from stella_contracts.errors import BusUnavailable, Conflict
from stella_runtime.messaging.backoff import Backoff
from stella_runtime.messaging.topology import Exchange, Queue, Topology

log = structlog.get_logger()

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 5.0
"""How long the broker may take for anything but connecting."""
HEARTBEAT_SECONDS = 10
"""A peer that is silent for twice as long is taken for dead."""


class TopologyConflict(Conflict):
    """A queue or exchange exists with other properties than ours; the message says which."""

    code = "topology_conflict"


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn the library's ways of saying "not now" into BusUnavailable."""
    task = asyncio.current_task()
    cancelling = task.cancelling() if task else 0
    try:
        yield
    except asyncio.CancelledError as error:
        # What waits on a connection that dies is told so by a CancelledError, although nobody
        # cancels our task. Taken for a real one, it would end a relay without a word.
        if task is None or task.cancelling() > cancelling:
            raise
        raise BusUnavailable("The connection to the broker was lost.") from error
    except TimeoutError as error:
        raise BusUnavailable("The broker did not answer in time.") from error
    except DeliveryError as error:
        raise BusUnavailable("The broker refused a message: a queue is full.") from error
    except ProbableAuthenticationError as error:
        raise BusUnavailable("The broker refused the user or the password.") from error
    except CONNECTION_EXCEPTIONS as error:
        raise BusUnavailable(f"The broker cannot be used ({type(error).__name__}).") from error


class Link:
    """
    One connection, kept by `keep` and shared by any number of channels.

    Every connection starts with declaring the topology, so that whatever is opened on it finds
    its queues, also on a broker that was emptied meanwhile.
    """

    def __init__(self, url: str, *, name: str, topology: Topology) -> None:
        self.problem: str | None = "The broker has not been reached yet."
        """Why there is no connection now: a sentence without addresses."""
        self.conflict: TopologyConflict | None = None
        """Set as long as the broker's topology contradicts ours."""
        self.topology = topology
        self.tried = asyncio.Event()
        """Set once the first attempt has ended, well or badly."""
        self._url = url
        self._name = name
        self._up = asyncio.Event()
        self._connection: AbstractConnection | None = None

    @property
    def connection(self) -> AbstractConnection:
        """The one there is now. Raises BusUnavailable."""
        if self._connection is None:
            raise BusUnavailable(self.problem or "The bus is not open.")
        return self._connection

    async def connected(self) -> AbstractConnection:
        """Wait for a connection."""
        while self._connection is None:
            await self._up.wait()
        return self._connection

    async def keep(self) -> NoReturn:
        """Connect, and again after each loss, until cancelled."""
        backoff = Backoff()
        while True:
            try:
                async with self._connect() as (connection, lost):
                    await declare(connection, self.topology)
                    backoff.succeeded()
                    await self._hold(connection, lost)
            except BusUnavailable as error:
                self.conflict = None
                self._failed(str(error), first=not backoff.tries, cause=error.__cause__)
            except TopologyConflict as error:
                self.conflict = error
                self._failed(str(error), first=not backoff.tries)
            await asyncio.sleep(backoff.next())

    async def _hold(self, connection: AbstractConnection, lost: asyncio.Event) -> None:
        self._connection, self.problem, self.conflict = connection, None, None
        self._up.set()
        self.tried.set()
        log.info("bus_connected", connection=self._name)
        try:
            await lost.wait()
        finally:
            self._connection = None
            self._up.clear()
            self.problem = "The connection to the broker was lost."
        log.warning("bus_connection_lost", connection=self._name)

    def _failed(self, problem: str, *, first: bool, cause: BaseException | None = None) -> None:
        self.problem = problem
        self.tried.set()
        if first:
            log.warning("bus_connection_failed", connection=self._name, reason=problem, cause=cause)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[tuple[AbstractConnection, asyncio.Event]]:
        connection = aio_pika.Connection(
            aio_pika.connection.make_url(self._url, heartbeat=HEARTBEAT_SECONDS),
            client_properties={"connection_name": self._name},
        )
        lost = asyncio.Event()
        connection.close_callbacks.add(lambda *_: lost.set())
        try:
            with broker_errors():
                await connection.connect(timeout=CONNECT_SECONDS)
            yield connection, lost
        finally:
            with suppress(BusUnavailable), broker_errors():
                async with asyncio.timeout(ANSWER_SECONDS):
                    await connection.close()


async def keep_channel(
    link: Link,
    use: Callable[[AbstractChannel, asyncio.Event], Awaitable[None]],
    *,
    purpose: str,
) -> NoReturn:
    """
    Run `use` with a channel, and again with a new one whenever that ends, until cancelled.

    The event is set when the channel is lost. `use` may also return, or raise BusUnavailable,
    to be given another.
    """
    backoff = Backoff()
    former: AbstractConnection | None = None
    while True:
        connection = await link.connected()
        try:
            if connection is former:
                # It was the channel alone that was lost: perhaps for want of a queue.
                await declare(connection, link.topology)
            async with open_channel(connection) as (channel, lost):
                await use(channel, lost)
            backoff.succeeded()
            log.info("bus_channel_lost", purpose=purpose)
        except (BusUnavailable, TopologyConflict) as error:
            if not backoff.tries:
                log.warning("bus_channel_failed", purpose=purpose, reason=str(error))
        former = connection
        await asyncio.sleep(backoff.next())


@asynccontextmanager
async def open_channel(
    connection: AbstractConnection,
) -> AsyncIterator[tuple[AbstractChannel, asyncio.Event]]:
    """A channel whose publishes are confirmed, and the event of its loss."""
    lost = asyncio.Event()
    with broker_errors():
        channel = connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(lambda *_: lost.set())
        async with asyncio.timeout(ANSWER_SECONDS):
            await channel.initialize()
    try:
        yield channel, lost
    finally:
        with suppress(BusUnavailable), broker_errors():
            async with asyncio.timeout(ANSWER_SECONDS):
                await channel.close()


async def declare(connection: AbstractConnection, topology: Topology) -> None:
    """Raises TopologyConflict, or BusUnavailable."""
    try:
        async with open_channel(connection) as (channel, _), asyncio.timeout(ANSWER_SECONDS):
            for exchange in topology.exchanges:
                await _declare_exchange(channel, exchange)
            for queue in topology.queues:
                await channel.declare_queue(
                    queue.name, durable=True, arguments=queue_arguments(queue)
                )
            for binding in topology.bindings:
                bound = await channel.get_queue(binding.queue, ensure=False)
                await bound.bind(binding.exchange, binding.routing_key)
    except ChannelPreconditionFailed as error:
        # The broker names the queue and the first argument that differs, with both values.
        raise TopologyConflict(
            f"The broker has a queue or exchange that differs from ours: {error}."
            " Drain and delete it there, or run the version that declared it."
        ) from error
    except (TimeoutError, *CONNECTION_EXCEPTIONS) as error:
        raise BusUnavailable(
            f"The broker did not accept the topology ({type(error).__name__})."
        ) from error


async def _declare_exchange(channel: AbstractChannel, exchange: Exchange) -> None:
    arguments: FieldTable = {}
    if exchange.alternate is not None:
        arguments["alternate-exchange"] = exchange.alternate
    await channel.declare_exchange(
        exchange.name, aio_pika.ExchangeType(exchange.kind), durable=True, arguments=arguments
    )


def queue_arguments(queue: Queue) -> FieldTable:
    """RabbitMQ's words for our rules; quorum queues, so that a confirmed message is not lost."""
    arguments: FieldTable = {
        "x-queue-type": "quorum",
        "x-max-length": queue.max_length,
        "x-overflow": "reject-publish" if queue.when_full == "refuse" else "drop-head",
    }
    if queue.delivery_limit is not None:
        arguments["x-delivery-limit"] = queue.delivery_limit
    if queue.hold is not None:
        arguments["x-message-ttl"] = int(queue.hold.total_seconds() * 1000)
    if queue.then is not None:
        arguments["x-dead-letter-exchange"] = ""
        arguments["x-dead-letter-routing-key"] = queue.then
        # The default may lose the message between the two queues.
        arguments["x-dead-letter-strategy"] = "at-least-once"
    return arguments
