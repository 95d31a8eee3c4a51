"""Reads server-sent events over a socket, as the HTML standard says (9.2.6)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from stella_contracts.messages import Event, EventType, IntegrationChange
from stella_runtime.ids import new_id
from stella_runtime.messaging.relay import Relay
from stella_runtime.operations import serving
from stella_runtime.persistence import Database
from tests.support.api import Hub
from tests.support.catalog import TENANT


@dataclass(frozen=True, slots=True)
class Sent:
    """One event as a browser dispatches it."""

    type: str
    data: dict[str, Any]

    @property
    def name(self) -> str:
        """What the integration that it is about is called."""
        return str(self.data["data"]["name"])


@dataclass
class Reader:
    """A connection, read as it comes."""

    response: httpx.Response
    last_id: str = ""
    comments: int = 0
    lines: AsyncIterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = self.response.aiter_lines()

    async def next(self) -> Sent:
        """The next event. Raises StopAsyncIteration when the stream has ended."""
        block: dict[str, str] = {}
        async for line in self.lines:
            if line:
                name, _, value = line.partition(":")
                block[name] = value.removeprefix(" ")
                self.comments += not name
                continue
            self.last_id = block.get("id", self.last_id)
            if block.get("data"):
                return Sent(block.get("event", "message"), json.loads(block["data"]))
            block = {}
        raise StopAsyncIteration

    async def take(self, count: int) -> list[Sent]:
        return [await self.next() for _ in range(count)]

    async def beat(self) -> None:
        """Return after the next comment."""
        seen = self.comments
        async for line in self.lines:
            name, _, value = line.partition(":")
            if name == "id":
                self.last_id = value.removeprefix(" ")
            self.comments += bool(line) and not name
            if self.comments > seen and not line:
                return

    async def rest(self) -> list[Sent]:
        """Everything up to the end."""
        found: list[Sent] = []
        while True:
            try:
                found.append(await self.next())
            except StopAsyncIteration:
                return found


@dataclass
class Server:
    """The API on a port, with what publishes its events."""

    hub: Hub
    url: str

    def client(self, **claims: Any) -> httpx.AsyncClient:
        client = self.hub.client(**claims)
        found = httpx.AsyncClient(
            base_url=f"{self.url}/api/v1", headers=client.headers, timeout=30, trust_env=False
        )
        self.hub.clients.append(found)
        return found

    @asynccontextmanager
    async def reading(
        self,
        client: httpx.AsyncClient | None = None,
        *,
        after: str | None = None,
        **query: Any,
    ) -> AsyncIterator[Reader]:
        """Connect, and return once the stream has begun."""
        headers = {} if after is None else {"Last-Event-ID": after}
        async with (client or self.client()).stream(
            "GET", "/events", headers=headers, params=query
        ) as response:
            if response.is_error:
                await response.aread()
            assert response.status_code == 200, response.text
            reader = Reader(response)
            await reader.beat()
            yield reader


@asynccontextmanager
async def served(hub: Hub) -> AsyncIterator[Server]:
    """Serve the hub on loopback, with a relay for what its database commits."""
    relay = Relay(hub.database, hub.bus)
    hub.database.announce_commits_to(relay.wake)
    running = asyncio.create_task(relay.run())
    try:
        async with serving(hub.application, host="127.0.0.1", port=0, drain_seconds=5) as port:
            yield Server(hub, f"http://127.0.0.1:{port}")
    finally:
        running.cancel()
        await asyncio.wait([running])


def an_event(
    name: str = "tool",
    event_type: EventType = EventType.INTEGRATION_CREATED,
    *,
    tenant: str = TENANT,
    integration_id: UUID | None = None,
) -> Event:
    """The catalog changed."""
    change = IntegrationChange(
        integration_id=integration_id or new_id(), provider_type="harbor", name=name, version=1
    )
    return Event.of(new_id(), event_type, change, service="api", tenant_id=tenant)


async def report(database: Database, *names: str, **fields: Any) -> None:
    """Commit an event for each name, in one transaction."""
    async with database.transaction(fields.get("tenant", TENANT)) as transaction:
        for name in names:
            transaction.outbox.report(an_event(name, **fields))
