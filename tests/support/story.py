"""One integration on a real tool, told through the API of running services."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg

from tests.support.harbor_server import HarborServer, harbor_server
from tests.support.processes import System
from tests.support.subscriber import eventually

ALL = ("discovery", "api", "worker", "scheduler")

LEASE_SECONDS = 8
PATIENCE = 8


@dataclass
class Story:
    """One integration, from its registration to its end, told through the API."""

    http: httpx.AsyncClient
    database_url: str
    harbor: HarborServer
    integration_id: str = ""

    async def register(self) -> None:
        answer = await self.http.post(
            "/integrations",
            json={
                "type": "harbor",
                "name": "registry-eu",
                "config": {"endpoint": self.harbor.url},
                "failureThreshold": 2,
            },
        )
        assert answer.status_code == 201, answer.text
        self.integration_id = answer.json()["id"]

    async def health(self) -> dict[str, Any]:
        answer = await self.http.get(f"/integrations/{self.integration_id}/health")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def checks(self) -> int:
        return len((await self.health())["history"]["items"])

    def let_time_pass(self) -> None:
        """Let the next check be due: the schedule's time is the database's."""
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                "update schedule_state set next_check_at = now()"
                " where slot_at is null and next_check_at is not null"
            )

    def let_leases_end(self) -> None:
        """Let whoever was given a check have kept it too long."""
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                "update schedule_state set next_check_at = now() where slot_at is not null"
            )

    async def scheduled_check(self) -> None:
        """Let one more scheduled check happen."""
        before = await self.checks()
        self.let_time_pass()
        await self.has_checks(before + 1)

    async def has_checks(self, count: int) -> None:
        """
        Wait for a check to be in the history.

        Its message may be with somebody who stands still, or may be lost: it is not waited for.
        """

        async def done() -> bool:
            return await self.checks() >= count

        for _ in range(PATIENCE):
            try:
                await eventually(done, seconds=LEASE_SECONDS)
            except TimeoutError:
                self.let_leases_end()
            else:
                return
        raise TimeoutError(f"There are {await self.checks()} checks, and not {count}.")

    async def reaches(self, status: str) -> None:
        async def there() -> bool:
            return bool((await self.health())["status"] == status)

        await eventually(there)


@asynccontextmanager
async def told(system: System, database_url: str, *, service: str = "api") -> AsyncIterator[Story]:
    """A story whose teller speaks with one of the APIs."""
    async with harbor_server() as harbor, system.client(service=service) as http:
        yield Story(http=http, database_url=database_url, harbor=harbor)
