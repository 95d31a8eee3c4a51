"""
What could not be handled, for the operator: look at it, send it back to work, throw it away.

A dead letter is sent back by the broker itself: its queue dead-letters to the work queue, and
refusing it moves it there. So it is in one of the two at any time, whatever is killed meanwhile.
What was unrouted has no queue to go back to. It is published again with the broker's
confirmation, and taken out after that: killed in between, a subscriber may see it twice, as it
may any event.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from stella_contracts.errors import NotFound
from stella_runtime.messaging.connection import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    broker_errors,
    declare,
    open_channel,
)
from stella_runtime.messaging.consumer import delivery_of, latest_death
from stella_runtime.messaging.publisher import outgoing
from stella_runtime.messaging.settlement import QUEUE_HEADER, REASON_HEADER, TRIED_HEADER
from stella_runtime.messaging.topology import TOPOLOGY, UNROUTED, Topology

AT_ONCE = 100
"""How many are told of, and settled, together."""

Tell = Callable[[Sequence["DeadLetter"]], Awaitable[None]]
"""Called before something happens to these."""


class DeadQueueNotFound(NotFound):
    """No queue of that name holds dead letters."""

    code = "dead_queue_not_found"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"No dead letters are kept for {name!r}. There are: {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that lies in a dead queue, without its body."""

    queue: str
    """Where it lies."""
    id: str
    routing_key: str
    source: str
    """The queue that it was in, or the exchange that no queue took it from."""
    reason: str
    attempts: int | None
    """How often a handler tried it. None where none did, or nobody has counted."""
    since: datetime | None
    bytes: int


class DeadLetters:
    """The dead queues of one broker. Opened by `open_dead_letters`."""

    def __init__(self, connection: AbstractConnection, topology: Topology) -> None:
        self._connection = connection
        self._topology = topology

    def queues(self, name: str | None = None) -> Sequence[str]:
        """
        All of them, or the one that `name` means: its own name, or that of its work queue.

        Raises DeadQueueNotFound.
        """
        dead = [queue.dead for queue in self._topology.queues if queue.dead is not None]
        known = [*dead, UNROUTED]
        if name is None:
            return known
        found = [each for each in known if each in (name, f"{name}.dead")]
        if not found:
            raise DeadQueueNotFound(name, known)
        return found

    async def look(self, queue: str, *, limit: int) -> Sequence[DeadLetter]:
        """The oldest ones. They stay where they are, in their order."""
        found: list[DeadLetter] = []
        async with self._channel() as channel:
            while len(found) < limit and (message := await _next(channel, queue)):
                found.append(self._letter(queue, message))
        return found

    async def replay(self, queue: str, tell: Tell, *, message_id: str | None = None) -> int:
        """Send all, or those with an id, back to where they came from, and say how many."""
        settle = self._publish_again if queue == UNROUTED else _refuse
        return await self._settle(queue, settle, tell, message_id)

    async def drop(self, queue: str, tell: Tell, *, message_id: str | None = None) -> int:
        """Throw all, or those with an id, away for good, and say how many."""
        return await self._settle(queue, _take_out, tell, message_id)

    async def _settle(
        self,
        queue: str,
        settle: Callable[[AbstractChannel, AbstractIncomingMessage], Awaitable[None]],
        tell: Tell,
        message_id: str | None,
    ) -> int:
        settled, seen = 0, set[str]()
        rules = self._topology.queue(queue)
        async with self._channel() as channel:
            together: list[AbstractIncomingMessage] = []
            for _ in range(rules.max_length):
                message = await _next(channel, queue)
                # What is left unsettled stays, and does not come to us again. So does what was
                # sent back and has died a second time while we are here.
                identity = message.message_id if message else None
                if message and message_id in (None, identity) and identity not in seen:
                    seen |= {identity} if identity else set()
                    together.append(message)
                if together and (message is None or len(together) == AT_ONCE):
                    await tell([self._letter(queue, each) for each in together])
                    for each in together:
                        await settle(channel, each)
                    settled += len(together)
                    together = []
                if message is None:
                    break
        return settled

    async def _publish_again(
        self, channel: AbstractChannel, message: AbstractIncomingMessage
    ) -> None:
        delivery = delivery_of(message)
        copy = outgoing(delivery.id, delivery.body, delivery.headers, persistent=True)
        with broker_errors():
            async with asyncio.timeout(ANSWER_SECONDS):
                exchange = await channel.get_exchange(message.exchange or "", ensure=False)
                await exchange.publish(copy, delivery.routing_key, mandatory=True)
        await _take_out(channel, message)

    def _letter(self, queue: str, message: AbstractIncomingMessage) -> DeadLetter:
        delivery, death = delivery_of(message), latest_death(message)
        unrouted = queue == UNROUTED
        tried = delivery.headers.get(TRIED_HEADER, "")
        attempts = int(tried) if tried.isdecimal() else None
        moved = death.get("time") if death is not None and not unrouted else None
        since = moved if isinstance(moved, datetime) else message.timestamp
        source = message.exchange if unrouted else delivery.headers.get(QUEUE_HEADER)
        unwanted = f"no queue was bound for {delivery.routing_key!r}"
        return DeadLetter(
            queue=queue,
            id=delivery.id,
            routing_key=delivery.routing_key,
            source=source or "",
            reason=unwanted if unrouted else delivery.headers.get(REASON_HEADER, "unknown"),
            attempts=None if unrouted else attempts,
            since=since,
            bytes=len(message.body),
        )

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel of one's own: closing it puts back what was not settled on it."""
        async with open_channel(self._connection) as (channel, _):
            yield channel


@asynccontextmanager
async def open_dead_letters(
    url: str, *, topology: Topology = TOPOLOGY
) -> AsyncIterator[DeadLetters]:
    """
    Connect to the broker at an AMQP address.

    Raises BusUnavailable. Raises TopologyConflict when a queue there differs from ours: what an
    older one holds would be lost instead of moved.
    """
    with broker_errors():
        connection = await aio_pika.connect(
            url, timeout=CONNECT_SECONDS, client_properties={"connection_name": "stella bus"}
        )
    async with connection:
        await declare(connection, topology)
        yield DeadLetters(connection, topology)


async def _next(channel: AbstractChannel, queue: str) -> AbstractIncomingMessage | None:
    with broker_errors():
        async with asyncio.timeout(ANSWER_SECONDS):
            source = await channel.get_queue(queue, ensure=False)
            return await source.get(fail=False)


async def _refuse(_: AbstractChannel, message: AbstractIncomingMessage) -> None:
    """The broker moves it to the queue that its queue dead-letters to."""
    with broker_errors():
        async with asyncio.timeout(ANSWER_SECONDS):
            await message.reject(requeue=False)


async def _take_out(_: AbstractChannel, message: AbstractIncomingMessage) -> None:
    with broker_errors():
        async with asyncio.timeout(ANSWER_SECONDS):
            await message.ack()
