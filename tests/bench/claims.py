"""
How fast four schedulers hand out a million rows that are all due at once, each of them once.

First checks, so that nothing is put off. The bus takes everything, as workers would that are fast.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

import psycopg

from stella_contracts.messages import RunScheduledChecks
from stella_health_worker.scheduler import Scheduler
from stella_runtime.messaging.bus import Depth, Message
from stella_runtime.persistence import Database, open_engine
from stella_runtime.telemetry.metrics import Metrics
from tests.bench.figures import Figure
from tests.bench.registered import register
from tests.bench.stack import Databases

ROWS = 1_000_000
SCHEDULERS = 4
WANTED = 20_000.0
"""A second; of row F17 of the table of faults."""
_DUE = "update schedule_state set next_check_at = now(), checks_done = 0"
_MARGIN = timedelta(hours=1)
"""For as long as this takes, no lease may end."""


class _Bodies:
    """In place of the broker; read when the clock has stopped."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def publish(self, message: Message) -> None:
        self.bodies.append(message.body)

    async def measure(self, queues: Sequence[str]) -> Mapping[str, Depth]:
        return {queue: Depth(messages=0, consumers=1) for queue in queues}


async def measure(databases: Databases, *, rows: int = ROWS) -> Figure:
    """Claims a second. Raises RuntimeError unless each row was claimed once."""
    url = await databases.migrated("claims")
    with psycopg.connect(url, autocommit=True) as connection:
        register(connection, rows, interval_seconds=300)
        connection.execute(_DUE)
        connection.execute("vacuum (analyze) schedule_state")
        connection.execute("checkpoint")
    bus = _Bodies()
    async with AsyncExitStack() as stack:
        schedulers = []
        for _ in range(SCHEDULERS):
            database = Database(open_engine(url, pool_size=1, application="bench"))
            stack.push_async_callback(database.close)
            schedulers.append(Scheduler(database, bus, Metrics(), lease_margin=_MARGIN))
        started = time.perf_counter()
        await asyncio.gather(*(_claim_all(each) for each in schedulers))
        seconds = time.perf_counter() - started
    _count(bus.bodies, rows)
    return Figure(
        "claims", rows / seconds, "rows/s", {"wanted": WANTED}, {"schedulers": SCHEDULERS}
    )


async def _claim_all(scheduler: Scheduler) -> None:
    # The last of the rows may be locked by the others.
    while (await scheduler.tick()).rows:
        pass


def _count(bodies: Sequence[bytes], rows: int) -> None:
    claims = Counter(
        (check.integration_id, check.lease_token)
        for body in bodies
        for check in RunScheduledChecks.model_validate_json(body).checks
    )
    twice = sum(times > 1 for times in claims.values())
    if len(claims) != rows or twice:
        raise RuntimeError(f"{rows} rows were due: {len(claims)} were claimed, {twice} twice.")
