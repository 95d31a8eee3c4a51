"""Broker to handler, and back: deliveries are settled by the kind of error."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pamqp.common import FieldTable

from stella_contracts.errors import BusUnavailable
from stella_runtime.messaging.bus import Delivery, Handler
from stella_runtime.messaging.connection import (
    ANSWER_SECONDS,
    Link,
    broker_errors,
    keep_channel,
)
from stella_runtime.messaging.handling import HandlerPool
from stella_runtime.messaging.meter import Meter
from stella_runtime.messaging.publisher import SYSTEM, Publisher
from stella_runtime.messaging.settlement import (
    ATTEMPT_HEADER,
    QUEUE_HEADER,
    REASON_HEADER,
    TRIED_HEADER,
    Fate,
    Settlement,
)
from stella_runtime.messaging.subscription import CAPACITY, Subscription
from stella_runtime.messaging.topology import Queue

log = structlog.get_logger()

_BROKERS_NOTES = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count")

HAND_BACK_SECONDS = 1.0
"""Pause before a delivery that could not be moved on is handed back: it returns at once."""


class Consumer:
    """Takes from one queue, on a channel of its own."""

    def __init__(
        self,
        link: Link,
        publisher: Publisher,
        queue: Queue,
        handler: Handler,
        *,
        prefetch: int,
        meter: Meter,
    ) -> None:
        self._link = link
        self._meter = meter
        self._publisher = publisher
        self._queue = queue
        self._prefetch = prefetch
        self._pool = HandlerPool(queue.name, handler, at_once=prefetch, system=SYSTEM)
        self._stopping = False
        self._cancel: Callable[[], Awaitable[None]] | None = None

    async def keep(self) -> None:
        """Consume until cancelled. To lose nothing that runs, `stop` first."""
        await keep_channel(self._link, self._use, purpose=f"consume {self._queue.name}")

    async def stop(self, drain_seconds: float) -> None:
        """Take no more, and let the handlers end."""
        self._stopping = True
        if self._cancel is not None:
            with suppress(BusUnavailable):
                await self._cancel()
        await self._pool.drain(drain_seconds)

    async def _use(self, channel: AbstractChannel, lost: asyncio.Event) -> None:
        if not self._stopping:
            with broker_errors():
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._start(channel, lost)
            log.info("consumer_started", queue=self._queue.name)
        try:
            # Also while stopping: the handlers that still run are acknowledged on this channel.
            await lost.wait()
        finally:
            self._cancel = None

    async def _start(self, channel: AbstractChannel, lost: asyncio.Event) -> None:
        await channel.set_qos(prefetch_count=self._prefetch)
        await _notice_cancelling(channel, lost)
        queue = await channel.get_queue(self._queue.name, ensure=False)
        tag = await queue.consume(self._received)

        async def cancel() -> None:
            with broker_errors():
                async with asyncio.timeout(ANSWER_SECONDS):
                    await queue.cancel(tag)

        self._cancel = cancel

    async def _received(self, incoming: AbstractIncomingMessage) -> None:
        # The library cancels this when the channel is lost, so the handler is not run in it.
        await self._pool.slot()
        if self._stopping:
            self._pool.give_back_slot()
            with suppress(BusUnavailable):
                await self._hand_back(incoming)
            return

        async def carry_out(settlement: Settlement) -> None:
            await self._carry_out(settlement, incoming)

        self._meter.message_taken(self._queue.name, seconds_since(incoming.timestamp))
        self._pool.start(delivery_of(incoming), carry_out)

    async def _carry_out(self, settlement: Settlement, incoming: AbstractIncomingMessage) -> None:
        """Where the delivery moves on, its copy is confirmed before it is acknowledged."""
        delivery = delivery_of(incoming)
        try:
            if settlement.fate is Fate.DONE:
                await _acknowledge(incoming)
            elif settlement.fate is Fate.RETRY and (
                waiting := self._queue.retry_after(delivery.attempt)
            ):
                marks = {ATTEMPT_HEADER: str(delivery.attempt + 1)}
                await self._move(waiting, delivery, marks, incoming)
            elif settlement.fate is Fate.DEAD and self._queue.dead:
                marks = {
                    REASON_HEADER: settlement.reason,
                    QUEUE_HEADER: self._queue.name,
                    TRIED_HEADER: str(delivery.attempt),
                }
                if await self._move(self._queue.dead, delivery, marks, incoming):
                    self._meter.message_died(self._queue.name)
            else:
                await self._hand_back(incoming)
        except BusUnavailable as error:
            # Not settled: with its channel gone, the broker delivers it again by itself.
            log.info("delivery_not_settled", queue=self._queue.name, reason=str(error))

    async def _move(
        self,
        queue: str,
        delivery: Delivery,
        marks: dict[str, str],
        incoming: AbstractIncomingMessage,
    ) -> bool:
        """Whether it lies in the other queue now."""
        try:
            headers = {**delivery.headers, **marks}
            await self._publisher.put(queue, delivery.id, delivery.body, headers)
        except BusUnavailable as error:
            log.warning("delivery_not_moved", queue=queue, reason=str(error))
            await asyncio.sleep(HAND_BACK_SECONDS)
            await self._hand_back(incoming)
            return False
        await _acknowledge(incoming)
        return True

    async def _hand_back(self, incoming: AbstractIncomingMessage) -> None:
        with broker_errors():
            async with asyncio.timeout(ANSWER_SECONDS):
                await incoming.nack(requeue=True)


class Listener:
    """Feeds one subscription from a queue that lives as long as its channel's connection."""

    def __init__(self, link: Link, subscription: Subscription) -> None:
        self.listening = asyncio.Event()
        """Set once what is published from now on is received."""
        self._link = link
        self._subscription = subscription

    async def keep(self) -> None:
        """Listen until cancelled."""
        purpose = f"subscribe {self._subscription.exchange}"
        await keep_channel(self._link, self._use, purpose=purpose)

    async def _use(self, channel: AbstractChannel, lost: asyncio.Event) -> None:
        with broker_errors():
            async with asyncio.timeout(ANSWER_SECONDS):
                await _notice_cancelling(channel, lost)
                queue = await channel.declare_queue(
                    exclusive=True, auto_delete=True, arguments={"x-max-length": CAPACITY}
                )
                for pattern in self._subscription.patterns:
                    await queue.bind(self._subscription.exchange, pattern)
                await queue.consume(self._received, no_ack=True)
        self.listening.set()
        try:
            await lost.wait()
        finally:
            self.listening.clear()
            # Left to itself it would take a little longer, and events that nobody reads.
            with suppress(BusUnavailable), broker_errors():
                async with asyncio.timeout(ANSWER_SECONDS):
                    await queue.delete(if_unused=False)

    async def _received(self, incoming: AbstractIncomingMessage) -> None:
        self._subscription.put(delivery_of(incoming))


def delivery_of(incoming: AbstractIncomingMessage) -> Delivery:
    """What the handler sees. The broker's own notes are left out, but for why it gave up."""
    headers = {
        name: value
        for name, value in incoming.headers.items()
        if isinstance(value, str) and not name.startswith(_BROKERS_NOTES)
    }
    attempt = headers.pop(ATTEMPT_HEADER, "1")
    death = latest_death(incoming)
    reason = death.get("reason") if death is not None else None
    if death is not None and reason == "rejected":
        # An operator has sent it back to work: it begins anew.
        attempt = "1"
        for note in (REASON_HEADER, QUEUE_HEADER, TRIED_HEADER):
            headers.pop(note, None)
    elif death is not None and reason != "expired":
        # "expired" is the way back from a retry queue. Else the broker gave up, and later than
        # we did: what we move loses its notes.
        headers |= {REASON_HEADER: str(reason), QUEUE_HEADER: str(death.get("queue"))}
        headers.pop(TRIED_HEADER, None)
    return Delivery(
        id=incoming.message_id or "",
        routing_key=incoming.routing_key or "",
        body=incoming.body,
        headers=headers,
        attempt=int(attempt) if attempt.isdecimal() else 1,
    )


def seconds_since(moment: datetime | None) -> float:
    """The age of a message by its timestamp, which counts whole seconds."""
    return 0.0 if moment is None else max((datetime.now(UTC) - moment).total_seconds(), 0.0)


def latest_death(incoming: AbstractIncomingMessage) -> FieldTable | None:
    """What the broker noted when it last moved the message by itself."""
    deaths = incoming.headers.get("x-death")
    latest = deaths[0] if isinstance(deaths, list) and deaths else None
    return latest if isinstance(latest, dict) else None


async def _acknowledge(incoming: AbstractIncomingMessage) -> None:
    with broker_errors():
        async with asyncio.timeout(ANSWER_SECONDS):
            await incoming.ack()


async def _notice_cancelling(channel: AbstractChannel, lost: asyncio.Event) -> None:
    """A queue that is deleted ends its consumers, but not their channel."""
    underlying = await channel.get_underlay_channel()
    underlying.on_consumer_cancel_callbacks.add(lambda _: lost.set())
