"""Scheduler and worker in the process of the test, on a real database and real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg

from stella_discovery.app import Discovery
from stella_discovery.settings import DiscoverySettings
from stella_health_worker.app import parts
from stella_health_worker.settings import HealthWorkerSettings
from stella_runtime.messaging.in_process import InProcessBus
from stella_runtime.persistence import Database
from stella_runtime.telemetry.metrics import Metrics

SHARED: dict[str, Any] = {
    "environment": "embedded",
    "database_url": "postgresql://unused",
    "amqp_url": "amqp://unused",
}


@asynccontextmanager
async def working(database: Database, **settings: Any) -> AsyncIterator[Metrics]:
    """Schedule and check, with plugins known, until the block ends."""
    metrics = Metrics()
    worker = HealthWorkerSettings(
        **SHARED | {"role": "all", "egress_allow": "127.0.0.0/8", "drain_seconds": 1} | settings
    )
    async with InProcessBus(drain_seconds=1) as bus:
        discovery = Discovery(DiscoverySettings(**SHARED).sources, database, bus, metrics)
        tasks = [asyncio.create_task(discovery.run())]
        try:
            async with asyncio.timeout(30):
                await discovery.scanned.wait()
            tasks += [asyncio.create_task(part) for part in parts(worker, database, bus, metrics)]
            yield metrics
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


async def eventually(condition: Callable[[], object], *, seconds: float = 40) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of any kind, polled
            await asyncio.sleep(0.02)


class Told:
    """What the database says of the checks."""

    def __init__(self, database_url: str) -> None:
        self._connection = psycopg.connect(database_url, autocommit=True)

    def close(self) -> None:
        self._connection.close()

    def number(self, query: str, *values: object) -> int:
        [number] = self._connection.execute(query, values).fetchone() or (0,)
        return int(number)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, values).fetchall()

    def execute(self, query: str, *values: object) -> None:
        self._connection.execute(query, values)
