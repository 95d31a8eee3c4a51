"""The API and its relay on one database, and callers who do not give up."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import psycopg
from tests.support.api import Authority, Hub, running_hub
from tests.support.builders import a_registration

from stella_runtime.messaging.relay import Relay
from stella_runtime.messaging.topology import EVENTS
from stella_runtime.persistence import Database, open_engine

RETRY_SECONDS = 0.1
"""Shorter than what Retry-After says: the more requests meet the fault, the better."""


@dataclass
class Callers:
    """Who registers integrations: each with a key, again and again until it is accepted."""

    http: httpx.AsyncClient
    fields: dict[str, Any] = field(default_factory=dict)
    acknowledged: dict[str, str] = field(default_factory=dict)
    """The id that each key was answered with."""
    statuses: Counter[int] = field(default_factory=Counter)
    reads: Counter[int] = field(default_factory=Counter)
    stopping: bool = False

    async def register_without_end(self, caller: str) -> None:
        number = 0
        while not self.stopping:
            number += 1
            await self._register(f"{caller}-{number}")

    async def read_without_end(self) -> None:
        while not self.stopping:
            answer = await self.http.get("/integrations", params={"limit": 5})
            self.reads[answer.status_code] += 1
            _is_served_or_says_when(answer)
            await asyncio.sleep(RETRY_SECONDS / 10)

    async def _register(self, key: str) -> None:
        body = a_registration(name=key, **self.fields)
        while True:
            answer = await self.http.post(
                "/integrations", json=body, headers={"Idempotency-Key": key}
            )
            self.statuses[answer.status_code] += 1
            _is_served_or_says_when(answer)
            if answer.status_code == 201:
                self.acknowledged[key] = answer.json()["id"]
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def reach(self, more: int) -> None:
        """Wait until so many more registrations are acknowledged."""
        goal = len(self.acknowledged) + more
        await eventually(lambda: len(self.acknowledged) >= goal)

    async def meet(self, status: int) -> None:
        """Wait until another registration is answered with this status."""
        before = self.statuses[status]
        await eventually(lambda: self.statuses[status] > before)


def _is_served_or_says_when(answer: httpx.Response) -> None:
    assert answer.status_code in {200, 201, 503}, answer.text
    if answer.status_code == 503:
        assert answer.headers["Retry-After"]
        assert answer.headers["Content-Type"] == "application/problem+json"


@asynccontextmanager
async def calling(callers: Callers, *, writers: int = 6) -> AsyncIterator[None]:
    """Let them call while the block runs, and then bring to its end what they have begun."""
    async with asyncio.TaskGroup() as group:
        for number in range(writers):
            group.create_task(callers.register_without_end(f"caller-{number}"))
        group.create_task(callers.read_without_end())
        try:
            yield
        finally:
            callers.stopping = True


@dataclass
class Served:
    """A running API whose commits are announced, and what was announced."""

    hub: Hub
    database: Database
    announced: Counter[str] = field(default_factory=Counter)
    """How often each integration's registration was."""

    async def announces(self, identifiers: set[str]) -> None:
        await eventually(lambda: identifiers <= self.announced.keys())


@asynccontextmanager
async def served(url: str, authority: Authority, *, pool_size: int = 5) -> AsyncIterator[Served]:
    database = Database(open_engine(url, pool_size=pool_size, application="tests"))
    async with closing(database), running_hub(database, authority) as hub:
        await hub.put_plugins("registry")
        system = Served(hub, database)
        relay = Relay(database, hub.bus, poll_seconds=0.2)
        database.announce_commits_to(relay.wake)
        running = [asyncio.create_task(relay.run()), asyncio.create_task(_hear(system))]
        try:
            yield system
        finally:
            for task in running:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _hear(system: Served) -> None:
    async with system.hub.bus.subscribe(EVENTS, ["integration.created.#"]) as deliveries:
        async for delivery in deliveries:
            event = httpx.Response(200, content=delivery.body).json()
            system.announced[event["subject"]] += 1


async def eventually(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]], *, seconds: float = 30
) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.02)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


WHOLE = """
select i.name, i.id::text,
    (select count(*) from schedule_state s where s.integration_id = i.id),
    (select count(*) from audit_logs a where a.integration_id = i.id),
    (select count(*) from outbox o where o.ordering_key = i.id::text),
    (select count(*) from idempotency_keys k where k.key = i.name)
from integrations i
"""


def assert_nothing_is_half_written(url: str, acknowledged: dict[str, str]) -> None:
    """Each acknowledged registration is there once, with all that belongs to it."""
    stored = {name: (identifier, *counts) for name, identifier, *counts in rows(url, WHOLE)}

    assert stored == {key: (identifier, 1, 1, 1, 1) for key, identifier in acknowledged.items()}


@asynccontextmanager
async def closing(database: Database) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await database.close()
