"""What each of our processes has, in the test's own: a pool, a bus, and a relay between them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import aio_pika
import psycopg
from tests.integration.messaging.doubles import QUICK
from tests.support.catalog import TENANT

from stella_contracts.messages import Event, EventType, IntegrationChange
from stella_runtime.ids import new_id
from stella_runtime.messaging.rabbitmq import RabbitMQBus, open_bus
from stella_runtime.messaging.relay import Relay
from stella_runtime.persistence import Database, open_engine
from stella_runtime.telemetry.metrics import Metrics


@dataclass
class Process:
    """One of ours."""

    database: Database
    bus: RabbitMQBus
    metrics: Metrics

    async def change(self, integration_id: UUID, version: int) -> None:
        """Commit an event, as the API does with a change."""
        data = IntegrationChange(
            integration_id=integration_id, provider_type="harbor", name="a", version=version
        )
        event = Event.of(
            new_id(), EventType.INTEGRATION_UPDATED, data, service="api", tenant_id=TENANT
        )
        async with self.database.transaction(TENANT) as transaction:
            transaction.outbox.report(event)


@asynccontextmanager
async def process(
    database_url: str, amqp_url: str, *, poll_seconds: float = 0.2
) -> AsyncIterator[Process]:
    """Opened with a relay that runs, and listens to others."""
    database = Database(open_engine(database_url, pool_size=5, application="tests"))
    metrics = Metrics()
    try:
        async with open_bus(amqp_url, name="test", topology=QUICK, meter=metrics) as bus:
            relay = Relay(database, bus, poll_seconds=poll_seconds)
            database.announce_commits_to(relay.wake)
            tasks = [
                asyncio.create_task(relay.run()),
                asyncio.create_task(database.listen(relay.called)),
            ]
            try:
                yield Process(database, bus, metrics)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
    finally:
        await database.close()


@dataclass
class Received:
    """What a subscriber with a queue of its own got, in order."""

    events: list[Event] = field(default_factory=list)

    @property
    def versions(self) -> dict[UUID, list[int]]:
        """Of each integration, counting an event once by its id."""
        seen: set[UUID] = set()
        found: defaultdict[UUID, list[int]] = defaultdict(list)
        for event in self.events:
            if event.id not in seen:
                seen.add(event.id)
                found[UUID(event.data["integrationId"])].append(event.data["version"])
        return dict(found)


@asynccontextmanager
async def subscriber(amqp_url: str) -> AsyncIterator[Received]:
    """Somebody outside, whose queue outlives a restart of the broker, as their connection does."""
    received = Received()

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        received.events.append(Event.model_validate_json(message.body))
        await message.ack()

    async with await aio_pika.connect_robust(amqp_url, reconnect_interval=0.2) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("pager", durable=True)
        await queue.bind("stella.integrations.events", routing_key="integration.#")
        await queue.consume(take)
        yield received


async def unpublished(database_url: str) -> int:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        cursor = await connection.execute("select count(*) from outbox where published_at is null")
        [count] = await cursor.fetchone() or (0,)
    return int(count)


def in_order(integrations: Iterable[UUID], versions: int) -> dict[UUID, list[int]]:
    return {each: list(range(1, versions + 1)) for each in integrations}
