"""What each of our processes has, in the test's own: a pool, a bus, and a relay between them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import psycopg
from tests.integration.messaging.doubles import QUICK
from tests.support.catalog import TENANT
from tests.support.subscriber import Subscriber

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


def versions(received: Subscriber) -> dict[UUID, list[int]]:
    """Of each integration, counting an event once."""
    found: defaultdict[UUID, list[int]] = defaultdict(list)
    for event in received.events.values():
        found[UUID(event["data"]["integrationId"])].append(event["data"]["version"])
    return dict(found)


async def unpublished(database_url: str) -> int:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        cursor = await connection.execute("select count(*) from outbox where published_at is null")
        [count] = await cursor.fetchone() or (0,)
    return int(count)


def in_order(integrations: Iterable[UUID], last: int) -> dict[UUID, list[int]]:
    return {each: list(range(1, last + 1)) for each in integrations}
