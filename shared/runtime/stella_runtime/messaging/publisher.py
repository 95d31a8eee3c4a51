"""Message to broker, confirmed."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from weakref import WeakValueDictionary

import aio_pika
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import PublishError
from pamqp.commands import Basic

from stella_contracts.errors import BusUnavailable
from stella_runtime.ids import new_id
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.connection import Link, broker_errors, keep_channel
from stella_runtime.messaging.meter import Meter
from stella_runtime.telemetry import tracing

PUBLISH_SECONDS = 5.0
ASK_SECONDS = 30.0
"""How long one probe of a broker that takes nothing may wait for its confirmation."""
ASK_AGAIN_SECONDS = 1.0
NOWHERE = "stella.nowhere"
"""A queue that there is not."""
SYSTEM = "rabbitmq"
"""What traces call this bus."""


class Publisher:
    """One confirming channel, kept open: a channel per publish leaks, and is slow."""

    def __init__(self, link: Link, *, meter: Meter) -> None:
        self.opened = asyncio.Event()
        """Set while the channel is open."""
        self._link = link
        self._meter = meter
        self._channel: AbstractChannel | None = None
        self._stalled = asyncio.Event()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def problem(self) -> str | None:
        """Why publishing does not work now."""
        if self._channel is None:
            return self._link.problem or "The channel for publishing is being opened."
        if self._stalled.is_set():
            return "The broker takes no messages: the last one was not confirmed in time."
        return None

    async def keep(self) -> None:
        """Keep the channel open until cancelled."""
        await keep_channel(self._link, self._use, purpose="publish")

    async def publish(self, message: Message) -> None:
        exchange = self._link.topology.destination(message)
        lasting = exchange.must_arrive
        with tracing.sending(
            message.headers,
            messaging_system=SYSTEM,
            destination=exchange.name,
            routing_key=message.routing_key,
            message_id=message.id,
            operation="send",
        ) as headers:
            copy = outgoing(message.id, message.body, headers, persistent=lasting)
            await self.send(exchange.name, message.routing_key, copy, mandatory=lasting)

    async def put(
        self, queue: str, message_id: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        """Put a message into one queue, whatever is bound. Raises as `publish` does."""
        await self.send(
            "", queue, outgoing(message_id, body, headers, persistent=True), mandatory=True
        )

    async def send(
        self, exchange: str, routing_key: str, message: aio_pika.Message, *, mandatory: bool
    ) -> None:
        channel = self._channel
        # Nothing is sent while the broker does not read: it would fill our memory instead.
        if channel is None or self._stalled.is_set():
            raise BusUnavailable(self.problem or "The bus is not open.")
        try:
            with broker_errors():
                async with asyncio.timeout(PUBLISH_SECONDS), self._alone(message.message_id or ""):
                    destination = await channel.get_exchange(exchange, ensure=False)
                    answer = await destination.publish(message, routing_key, mandatory=mandatory)
        except BusUnavailable as error:
            if isinstance(error.__cause__, TimeoutError) and channel is self._channel:
                self._stall(True)
            if isinstance(error.__cause__, PublishError):
                raise BusUnavailable(
                    f"No queue takes {routing_key!r} from {exchange or 'the default exchange'}."
                ) from error.__cause__
            raise
        if not isinstance(answer, Basic.Ack):
            raise BusUnavailable("The broker did not confirm the message.")

    async def _use(self, channel: AbstractChannel, lost: asyncio.Event) -> None:
        self._channel = channel
        self.opened.set()
        asking = asyncio.create_task(self._ask_while_stalled(channel))
        try:
            await lost.wait()
        finally:
            self._channel = None
            self.opened.clear()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            self._stall(False)

    def _stall(self, stalled: bool) -> None:
        if stalled:
            self._stalled.set()
        else:
            self._stalled.clear()
        self._meter.publisher_blocked(stalled)

    async def _ask_while_stalled(self, channel: AbstractChannel) -> None:
        """
        Find out when a broker that took nothing reads again, as after a resource alarm.

        With one message at a time, which no queue takes: the broker confirms it, and drops it.
        """
        while True:
            await self._stalled.wait()
            try:
                with broker_errors():
                    async with asyncio.timeout(ASK_SECONDS):
                        nowhere = await channel.get_exchange("", ensure=False)
                        message = aio_pika.Message(b"", message_id=f"probe-{new_id()}")
                        await nowhere.publish(message, NOWHERE, mandatory=False)
            except BusUnavailable:
                await asyncio.sleep(ASK_AGAIN_SECONDS)
            else:
                self._stall(False)

    @asynccontextmanager
    async def _alone(self, message_id: str) -> AsyncIterator[None]:
        # The library finds the publish that a returned message belongs to by the message's id.
        # With two of one id under way, one of them would be confirmed although it was returned.
        lock = self._locks.get(message_id)
        if lock is None:
            lock = self._locks[message_id] = asyncio.Lock()
        async with lock:
            yield


def outgoing(
    message_id: str, body: bytes, headers: Mapping[str, str], *, persistent: bool
) -> aio_pika.Message:
    """The broker's form of a message of ours."""
    modes = aio_pika.DeliveryMode
    return aio_pika.Message(
        body,
        message_id=message_id,
        headers=dict(headers),
        content_type="application/json",
        timestamp=datetime.now(UTC),
        delivery_mode=modes.PERSISTENT if persistent else modes.NOT_PERSISTENT,
    )
