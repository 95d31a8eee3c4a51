"""Message to broker, confirmed."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import aio_pika
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import PublishError
from pamqp.commands import Basic

from stella_contracts.errors import BusUnavailable
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.connection import Link, broker_errors, keep_channel

PUBLISH_SECONDS = 5.0


class Publisher:
    """One confirming channel, kept open: a channel per publish leaks, and is slow."""

    def __init__(self, link: Link) -> None:
        self.opened = asyncio.Event()
        """Set while the channel is open."""
        self._link = link
        self._channel: AbstractChannel | None = None
        self._stalled = False
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def problem(self) -> str | None:
        """Why publishing does not work now."""
        if self._channel is None:
            return self._link.problem or "The channel for publishing is being opened."
        if self._stalled:
            return "The broker takes no messages: the last one was not confirmed in time."
        return None

    async def keep(self) -> None:
        """Keep the channel open until cancelled."""
        await keep_channel(self._link, self._use, purpose="publish")

    async def publish(self, message: Message) -> None:
        exchange = self._link.topology.destination(message)
        await self.send(
            exchange.name,
            message.routing_key,
            aio_pika.Message(
                message.body,
                message_id=message.id,
                headers=dict(message.headers),
                content_type="application/json",
                delivery_mode=_mode(persistent=exchange.must_arrive),
            ),
            mandatory=exchange.must_arrive,
        )

    async def put(
        self, queue: str, message_id: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        """Put a message into one queue, whatever is bound. Raises as `publish` does."""
        message = aio_pika.Message(
            body,
            message_id=message_id,
            headers=dict(headers),
            content_type="application/json",
            delivery_mode=_mode(persistent=True),
        )
        await self.send("", queue, message, mandatory=True)

    async def send(
        self, exchange: str, routing_key: str, message: aio_pika.Message, *, mandatory: bool
    ) -> None:
        channel = self._channel
        if channel is None:
            raise BusUnavailable(self.problem or "The bus is not open.")
        try:
            with broker_errors():
                async with asyncio.timeout(PUBLISH_SECONDS), self._alone(message.message_id or ""):
                    destination = await channel.get_exchange(exchange, ensure=False)
                    answer = await destination.publish(message, routing_key, mandatory=mandatory)
        except BusUnavailable as error:
            self._stalled = isinstance(error.__cause__, TimeoutError)
            if isinstance(error.__cause__, PublishError):
                raise BusUnavailable(
                    f"No queue takes {routing_key!r} from {exchange or 'the default exchange'}."
                ) from error.__cause__
            raise
        if not isinstance(answer, Basic.Ack):
            raise BusUnavailable("The broker did not confirm the message.")
        self._stalled = False

    async def _use(self, channel: AbstractChannel, lost: asyncio.Event) -> None:
        self._channel = channel
        self.opened.set()
        try:
            await lost.wait()
        finally:
            self._channel = None
            self.opened.clear()

    @asynccontextmanager
    async def _alone(self, message_id: str) -> AsyncIterator[None]:
        # The library finds the publish that a returned message belongs to by the message's id.
        # With two of one id under way, one of them would be confirmed although it was returned.
        lock = self._locks.get(message_id)
        if lock is None:
            lock = self._locks[message_id] = asyncio.Lock()
        async with lock:
            yield


def _mode(*, persistent: bool) -> aio_pika.DeliveryMode:
    return aio_pika.DeliveryMode.PERSISTENT if persistent else aio_pika.DeliveryMode.NOT_PERSISTENT
