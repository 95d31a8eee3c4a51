"""Somebody outside, with a queue of their own, who counts an event once by its id."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika

from stella_runtime.messaging.topology import EVENTS
from tests.support.documented import problems

OPENED = "integration.alert.opened"
RESOLVED = "integration.alert.resolved"


class Subscriber:
    """What was heard, in the order of first arrival."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.deliveries = 0
        self.undocumented: list[str] = []

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [event for event in self.events.values() if event["type"] in types]

    def alerts(self) -> list[str]:
        return [each["type"] for each in self.of(OPENED, RESOLVED)]


@asynccontextmanager
async def subscribed(amqp_url: str) -> AsyncIterator[Subscriber]:
    """Listen to all that is said of integrations. The services have declared the exchange."""
    subscriber = Subscriber()

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        async with message.process():
            assert message.routing_key is not None
            subscriber.undocumented += problems(EVENTS, message.routing_key, message.body)
            event = json.loads(message.body)
            subscriber.deliveries += 1
            subscriber.events.setdefault(event["id"], event)

    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=500)
        exchange = await channel.get_exchange("stella.integrations.events")
        queue = await channel.declare_queue("pager", durable=True)
        await queue.bind(exchange, routing_key="integration.#")
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
