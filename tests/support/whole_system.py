"""The services in the test's own process, over a bus of that process, with a Harbor to check."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from stella_discovery.app import Discovery
from stella_discovery.settings import DiscoverySettings
from stella_health_worker.app import parts
from stella_health_worker.settings import HealthWorkerSettings
from stella_runtime.messaging.relay import Relay
from stella_runtime.messaging.topology import EVENTS
from stella_runtime.persistence import Database
from tests.support.api import Authority, Hub, running_hub
from tests.support.harbor_server import HarborServer, harbor_server


@dataclass
class Whole:
    """The system in one process, and one integration with a Harbor."""

    hub: Hub
    http: httpx.AsyncClient
    harbor: HarborServer
    events: list[dict[str, Any]]

    async def register(self, **fields: Any) -> str:
        body = {"type": "harbor", "name": "registry-eu", "config": {"endpoint": self.harbor.url}}
        answer = await self.http.post("/integrations", json=body | fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def check(self, integration_id: str, **headers: str) -> httpx.Response:
        """Check now, and wait for the result."""
        answer = await self.http.post(
            f"/integrations/{integration_id}/health-check",
            headers={"Prefer": "wait=20"} | headers,
        )
        assert answer.status_code == 200, answer.text
        return answer


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - conditions of any kind, polled
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running_whole(
    database: Database, authority: Authority, *, role: str = "worker", **settings: Any
) -> AsyncIterator[Whole]:
    shared: dict[str, Any] = {
        "environment": "embedded",
        "database_url": "postgresql://unused",
        "amqp_url": "amqp://unused",
    }
    async with AsyncExitStack() as stack:
        harbor = await stack.enter_async_context(harbor_server())
        hub = await stack.enter_async_context(running_hub(database, authority))
        relay = Relay(database, hub.bus)
        database.announce_commits_to(relay.wake)
        discovery = Discovery(DiscoverySettings(**shared).sources, database, hub.bus, hub.metrics)
        worker = HealthWorkerSettings(
            **shared, role=role, egress_allow="127.0.0.0/8", worker_name="tests", **settings
        )
        events: list[dict[str, Any]] = []

        async def listen() -> None:
            async with hub.bus.subscribe(EVENTS, ["integration.#"]) as deliveries:
                async for delivery in deliveries:
                    event = orjson.loads(delivery.body)
                    events.append(event)

        tasks = [
            asyncio.create_task(part)
            for part in (
                listen(),
                relay.run(),
                discovery.run(),
                *parts(worker, database, hub.bus, hub.metrics),
            )
        ]
        try:
            async with asyncio.timeout(30):
                await discovery.scanned.wait()
            yield Whole(hub, hub.client(), harbor, events)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
