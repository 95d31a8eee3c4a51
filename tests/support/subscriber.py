"""Somebody outside, with a queue of their own, who counts an event once by its id."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import aio_pika

from stella_runtime.messaging.topology import EVENTS
from tests.support.documented import problems

OPENED = "integration.alert.opened"
RESOLVED = "integration.alert.resolved"


class Subscriber:
    """What was heard, in the order of first arrival."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.deliveries: Counter[str] = Counter()
        """How often each event came, by its id."""
        self.undocumented: list[str] = []

    def hear(self, routing_key: str, body: bytes) -> None:
        self.undocumented += problems(EVENTS, routing_key, body)
        event = json.loads(body)
        self.deliveries[event["id"]] += 1
        self.events.setdefault(event["id"], event)

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [event for event in self.events.values() if event["type"] in types]

    def about(self, integration_id: UUID | str) -> list[dict[str, Any]]:
        subject = str(integration_id)
        return [event for event in self.events.values() if event["subject"] == subject]

    def alerts(self) -> list[str]:
        return [each["type"] for each in self.of(OPENED, RESOLVED)]


@asynccontextmanager
async def subscribed(amqp_url: str) -> AsyncIterator[Subscriber]:
    """
    Listen to all that is said of integrations. The services have declared the exchange.

    The queue outlives a restart of the broker, and the connection is made again.
    """
    subscriber = Subscriber()

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        assert message.routing_key is not None
        subscriber.hear(message.routing_key, message.body)
        await message.ack()

    async with await aio_pika.connect_robust(amqp_url, reconnect_interval=0.2) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=500)
        queue = await channel.declare_queue("pager", durable=True)
        await queue.bind(EVENTS, routing_key="integration.#")
        await queue.consume(take)
        yield subscriber
        assert subscriber.undocumented == []


async def eventually(
    what: Callable[[], bool] | Callable[[], Awaitable[bool]], *, seconds: float = 30
) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while True:
            found = what()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.05)
