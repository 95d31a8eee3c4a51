"""
What a tick of the scheduler costs with a million registered, beside ten thousand.

As many rows are due in both. The ticks of the two databases alternate, so that what else the
machine does weighs on both alike.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID

import psycopg

from stella_health_worker.scheduler import Scheduler
from stella_runtime.messaging.bus import Depth, Message
from stella_runtime.persistence import Database, open_engine
from stella_runtime.telemetry.metrics import Metrics
from tests.bench.figures import Figure
from tests.bench.registered import register
from tests.bench.stack import Databases

FEW = 10_000
MANY = 1_000_000
DUE = 500
TICKS = 40
WARM_UP = 5
NOT_YET_SECONDS = 86_400

_SAMPLE = "select integration_id from schedule_state order by random() limit %s"
_DUE = """
update schedule_state set next_check_at = now(), slot_at = null
where integration_id = any(%s)
"""


class _Counted:
    """A bus that takes everything: what is measured is the tick, not the broker."""

    def __init__(self) -> None:
        self.messages = 0

    async def publish(self, message: Message) -> None:
        self.messages += 1

    async def measure(self, queues: Sequence[str]) -> Mapping[str, Depth]:
        return {queue: Depth(messages=0, consumers=1) for queue in queues}


@dataclass(frozen=True)
class _Catalog:
    connection: psycopg.Connection
    scheduler: Scheduler
    sample: Sequence[UUID]

    async def tick(self, turn: int) -> float:
        """Seconds of one tick that claims DUE rows, and loud if it claims any other number."""
        due = self.sample[turn * DUE : (turn + 1) * DUE]
        self.connection.execute(_DUE, [list(due)])
        started = time.perf_counter()
        claimed = (await self.scheduler.tick()).rows
        seconds = time.perf_counter() - started
        if claimed != DUE:
            raise RuntimeError(f"The tick claimed {claimed} rows, and {DUE} were due.")
        return seconds


async def measure(databases: Databases, *, many: int = MANY) -> Figure:
    """The median tick with many registered, as a multiple of that with few."""
    seconds: dict[int, list[float]] = {FEW: [], many: []}
    async with AsyncExitStack() as stack:
        catalogs = {
            size: await _catalog(stack, await databases.migrated(f"ticks_{size}"), size)
            for size in seconds
        }
        for turn in range(WARM_UP + TICKS):
            for size, catalog in catalogs.items():
                took = await catalog.tick(turn)
                if turn >= WARM_UP:
                    seconds[size].append(took)
    few, with_many = (statistics.median(each) for each in seconds.values())
    return Figure(
        "scheduler_tick_ratio",
        with_many / few,
        "times",
        notes={
            f"tick_ms_{FEW}_registered": few * 1000,
            f"tick_ms_{many}_registered": with_many * 1000,
        },
    )


async def _catalog(stack: AsyncExitStack, url: str, size: int) -> _Catalog:
    connection = stack.enter_context(psycopg.connect(url, autocommit=True))
    register(connection, size, interval_seconds=300)
    # Nothing is due by itself while this runs.
    connection.execute(
        "update schedule_state set next_check_at = next_check_at + %s * interval '1 second'",
        [NOT_YET_SECONDS],
    )
    connection.execute("vacuum (analyze) schedule_state")
    connection.execute("checkpoint")
    wanted = min(size, DUE * (WARM_UP + TICKS))
    # A small catalog comes round again, as it does in life.
    sample = [row[0] for row in connection.execute(_SAMPLE, [wanted]).fetchall()]
    while len(sample) < DUE * (WARM_UP + TICKS):
        sample += sample[: DUE * (WARM_UP + TICKS) - len(sample)]
    database = Database(open_engine(url, pool_size=2, application="bench"))
    stack.push_async_callback(database.close)
    return _Catalog(connection, Scheduler(database, _Counted(), Metrics()), sample)
