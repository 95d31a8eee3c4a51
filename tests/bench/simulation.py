"""
Half an hour of a hub with very many integrations, in virtual time on a real PostgreSQL.

The scheduler's tick and the worker's loading and recording are the product's own; between them,
plugins are replaced by outcomes: one in a hundred finds its target degraded. There is no broker
and no network. A virtual second is over when everything due in it is recorded.
"""

import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

from stella_contracts.health import ErrorCode, HealthResult, Step, StepResult
from stella_contracts.messages import RunScheduledChecks, ScheduledCheck
from stella_health_worker.recording import BATCH_LIMIT, record_outcomes
from stella_health_worker.scheduler import CLAIM_LIMIT, Scheduler
from stella_runtime.messaging.bus import Depth, Message
from stella_runtime.persistence import Database, open_engine
from stella_runtime.persistence.scheduling import Outcome, Target
from stella_runtime.telemetry.metrics import Metrics
from tests.bench.registered import register
from tests.bench.stack import Databases
from tests.bench.virtual_time import VirtualTime

DEGRADED_SHARE = 0.01
TOLD_EVERY_SECONDS = 300
STATEMENT_SECONDS = 60.0

_STEPS = [
    Step(name="connect", result=StepResult.SKIPPED),
    Step(name="request", result=StepResult.PASSED, ms=12.5),
    Step(name="authenticate", result=StepResult.SKIPPED),
]
_SIZES = """
select c.relname, sum(pg_total_relation_size(coalesce(i.inhrelid, c.oid))) / 1048576.0
from pg_class c left join pg_inherits i on i.inhparent = c.oid
where c.relname in ('integrations', 'schedule_state', 'health_checks', 'outbox')
group by c.relname order by c.relname
"""


class _Queue:
    """In place of the broker: what the scheduler publishes is what the worker takes."""

    def __init__(self) -> None:
        self.checks: list[ScheduledCheck] = []

    async def publish(self, message: Message) -> None:
        self.checks += RunScheduledChecks.model_validate_json(message.body).checks

    async def measure(self, queues: Sequence[str]) -> Mapping[str, Depth]:
        return {queue: Depth(messages=0, consumers=1) for queue in queues}

    def take(self) -> list[ScheduledCheck]:
        taken, self.checks = self.checks, []
        return taken


@dataclass(slots=True)
class Course:
    """What the simulation saw, second by second of virtual time."""

    due: list[int] = field(default_factory=list)
    tick_seconds: list[float] = field(default_factory=list)
    record_seconds: list[float] = field(default_factory=list)
    lag_seconds: list[float] = field(default_factory=list)

    def lines(self) -> list[str]:
        settled = self.due[len(self.due) // 10 :]
        mean, spread = statistics.mean(settled), statistics.pstdev(settled)
        ticks = sorted(self.tick_seconds)
        return [
            f"checks                        {sum(self.due):>14,}",
            f"due a second, mean            {mean:>14,.1f}",
            f"due a second, least and most  {min(settled):>14,} {max(settled):>8,}",
            f"due a second, deviation       {spread:>14,.1f}   (of chance alone: {mean**0.5:,.1f})",
            (
                f"tick, median and p99, ms      {statistics.median(ticks) * 1000:>14,.1f}"
                f" {ticks[int(len(ticks) * 0.99)] * 1000:>8,.1f}"
            ),
            f"tick, busiest second, ms       {ticks[-1] * 1000:>14,.1f}",
            f"tick, µs per due row          {sum(ticks) / sum(self.due) * 1e6:>14,.1f}",
            (
                f"recording, µs per check       "
                f"{sum(self.record_seconds) / sum(self.due) * 1e6:>14,.1f}"
            ),
            f"lag after a second, most, s   {max(self.lag_seconds):>14,.2f}",
        ]


async def run(
    databases: Databases, *, integrations: int, minutes: int, interval_seconds: int
) -> None:
    """Simulate, and print what was seen. Raises RuntimeError if a due check was not recorded."""
    url = await databases.migrated("simulation")
    started = time.perf_counter()
    async with AsyncExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(url, autocommit=True))
        register(connection, integrations, interval_seconds=interval_seconds)
        clock = VirtualTime(connection)
        clock.begin()
        _tell([f"{integrations:,} registered in {time.perf_counter() - started:,.0f} s"])
        engine = open_engine(
            url,
            pool_size=2,
            application="simulation",
            statement_timeout_seconds=STATEMENT_SECONDS,
        )
        database = Database(engine)
        stack.push_async_callback(database.close)
        course = await _live(database, connection, clock, seconds=minutes * 60)
        stored = _one(connection, "select count(*) from health_checks")
        sizes = connection.execute(_SIZES).fetchall()
    _tell(course.lines())
    _tell([f"{table:<22}{'MiB':<8}{size:>14,.1f}" for table, size in sizes])
    _tell([f"real seconds                  {time.perf_counter() - started:>14,.0f}"])
    if stored != sum(course.due):
        raise RuntimeError(f"{sum(course.due)} checks were due, and {stored} are in the history.")


async def _live(
    database: Database, connection: psycopg.Connection, clock: VirtualTime, *, seconds: int
) -> Course:
    queue, metrics, course = _Queue(), Metrics(), Course()
    scheduler = Scheduler(database, queue, metrics)
    chance = random.Random(1)
    for second in range(1, seconds + 1):
        clock.advance(1)
        ticks = 0.0
        claimed = CLAIM_LIMIT
        while claimed == CLAIM_LIMIT:
            began = time.perf_counter()
            claimed = (await scheduler.tick()).rows
            ticks += time.perf_counter() - began
        began = time.perf_counter()
        checks = queue.take()
        due = len(checks)
        await _record(database, checks, metrics, chance)
        course.record_seconds.append(time.perf_counter() - began)
        course.due.append(due)
        course.tick_seconds.append(ticks)
        async with database.system_transaction() as transaction:
            course.lag_seconds.append(await transaction.scheduling.seconds_late())
        if second % TOLD_EVERY_SECONDS == 0:
            # As autovacuum and retention would, whose time is the real one.
            connection.execute("vacuum schedule_state, outbox")
            _tell([f"minute {second // 60:>3}: {sum(course.due):>12,} checks"])
    return course


async def _record(
    database: Database,
    checks: Sequence[ScheduledCheck],
    metrics: Metrics,
    chance: random.Random,
) -> None:
    for start in range(0, len(checks), BATCH_LIMIT):
        async with database.system_transaction() as transaction:
            targets = await transaction.scheduling.load_scheduled(
                checks[start : start + BATCH_LIMIT]
            )
        async with database.system_transaction() as transaction:
            outcomes = [_outcome(target, chance) for target in targets]
            await record_outcomes(transaction, outcomes, metrics)


def _outcome(target: Target, chance: random.Random) -> Outcome:
    degraded = chance.random() < DEGRADED_SHARE
    return Outcome(
        target=target,
        result=HealthResult.degraded(ErrorCode.REMOTE_ERROR, "A component is down")
        if degraded
        else HealthResult.healthy(),
        connection=None,
        latency_ms=13,
        steps=_STEPS,
        checked_at=datetime.now(UTC),
        worker="simulation",
    )


def _one(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return 0 if row is None else int(row[0])


def _tell(lines: Sequence[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
