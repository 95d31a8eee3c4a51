"""
Scheduled checks from the queue to the committed history and the event, on one worker core.

The queue is filled first, so that what is measured is the worker. Every check is a real request
to the target; each integration has an endpoint of its own, and the endpoints are spread over
many addresses and tenants, so that no cache and no limit of a host or tenant tells.

The peers have the same core, one after the other, and ask the same target: Celery, whose worker
checks with httpx and stores a row a check; blackbox_exporter, which stores nothing and answers
whoever asks it; a bare loop of httpx, which does not even that.
"""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta

import httpx
import psycopg

from stella_health_worker.scheduler import Scheduler
from stella_runtime.messaging.bus import Bus, Depth, Message
from stella_runtime.messaging.rabbitmq import open_bus
from stella_runtime.persistence import Database, open_engine
from stella_runtime.telemetry.metrics import Metrics
from tests.bench import blackbox, celery_peer
from tests.bench.figures import Figure
from tests.bench.stack import BESIDE, UNDER_TEST, Databases, answers, cpu_seconds, process, settings
from tests.bench.target import ADDRESSES
from tests.support.ports import free_port

INTEGRATIONS = 15_000
NEW_SHARE = 100
"""One in so many has not been checked yet: its first result changes its status, with an event."""
TENANTS = 20
IN_FLIGHT = 50
LOOP_REQUESTS = 2000
LIMIT_SECONDS = 300
LEASE_SECONDS = 600
"""The queue is filled long before the last of it is taken."""

_REGISTER = """
with added as (
    insert into integrations (id, tenant_id, type, name, config_json, status,
        check_interval_seconds, check_timeout_seconds)
    select gen_random_uuid(), 'tenant-' || n %% %(tenants)s, 'harbor', 'registry-' || n,
        jsonb_build_object('endpoint', (%(origins)s::text[])[1 + n %% %(hosts)s]
            || '/registry-' || n),
        case when n %% %(new)s = 0 then 'unknown' else 'healthy' end, 86400, 30
    from generate_series(1, %(integrations)s) n returning *)
insert into schedule_state (integration_id, tenant_id, next_check_at, checks_done, connection)
select id, tenant_id, now(), case when status = 'healthy' then 1 else 0 end,
    case when status = 'healthy'
        then jsonb_build_object('apiRoot', config_json ->> 'endpoint' || '/api/v2.0') end
from added
"""
# What has been due for long would be taken for late, and spread.
_DUE_NOW = "update schedule_state set next_check_at = now()"
_UNCLAIMED = "select count(*) from schedule_state where slot_at is null"
_STORED = "select count(*) from health_checks"
_SOUND = """
select (select count(*) from health_checks where status = 'healthy'),
    (select count(*) from integrations where status = 'healthy'),
    (select count(*) from schedule_state where slot_at is null and last_check is not null),
    (select count(*) from outbox where published_at is not null
        and routing_key like 'integration.health.changed.%')
"""
_FAILED = """
select error_code, error_message, count(*) from health_checks where status <> 'healthy'
group by 1, 2 order by 3 desc limit 5
"""


async def measure(databases: Databases, amqp_url: str) -> Figure:
    """Checks per second of ours and of the peers."""
    port = free_port()
    async with process("-m", "tests.bench.target", str(port), environment={}):
        origins = [f"http://{address}:{port}" for address in ADDRESSES]
        for origin in origins[:1]:
            await answers(origin)
        postgres_url = await databases.migrated("pipeline")
        figure = await _ours(postgres_url, amqp_url, origins)
        figure.references.update(await celery_peer.measure(databases, amqp_url, origins))
        figure.references.update(await blackbox.measure(origins))
        url = f"{origins[0]}/api/v2.0/health"
        figure.references["httpx_loop"] = await asyncio.to_thread(_bare_loop, url)
    return figure


async def _ours(postgres_url: str, amqp_url: str, origins: list[str]) -> Figure:
    environment = settings(
        postgres_url,
        amqp_url,
        STELLA_PORT=str(free_port()),
        STELLA_LEASE_MARGIN_SECONDS=str(LEASE_SECONDS),
    )
    async with process("-m", "stella_discovery", "--once", environment=environment) as discovery:
        await discovery.wait()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            _REGISTER,
            {
                "integrations": INTEGRATIONS,
                "tenants": TENANTS,
                "origins": origins,
                "hosts": len(origins),
                "new": NEW_SHARE,
            },
        )
        connection.execute("vacuum analyze")
        connection.execute(_DUE_NOW)
        await _fill(postgres_url, amqp_url)
        if (unclaimed := _count(connection, _UNCLAIMED)) > 0:
            raise RuntimeError(f"{unclaimed} integrations were not claimed.")
        async with process(
            "-m", "stella_health_worker", "--role", "worker",
            environment=environment, is_under_test=True,
        ) as worker:  # fmt: skip
            figure = await _timed(connection, worker.pid)
            events = INTEGRATIONS // NEW_SHARE
            await _until_sound(connection, (INTEGRATIONS, INTEGRATIONS, INTEGRATIONS, events))
    return figure


async def _fill(postgres_url: str, amqp_url: str) -> None:
    """Queue everything that is due, as the scheduler would for workers that wait for it."""
    database = Database(open_engine(postgres_url, pool_size=1, application="stella-bench"))
    metrics = Metrics(tenants=TENANTS)
    try:
        async with (
            open_bus(amqp_url, name="stella-bench", drain_seconds=5, meter=metrics) as bus,
            asyncio.timeout(LIMIT_SECONDS),
        ):
            scheduler = Scheduler(
                database, _RoomyBus(bus), metrics, lease_margin=timedelta(seconds=LEASE_SECONDS)
            )
            while (await scheduler.tick()).rows:
                pass
    finally:
        await database.close()


class _RoomyBus:
    """Takes all that is due at once, where the scheduler hands out what workers take soon."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def publish(self, message: Message) -> None:
        await self._bus.publish(message)

    async def measure(self, queues: Sequence[str]) -> Mapping[str, Depth]:
        return {queue: Depth(messages=0, consumers=1000) for queue in queues}


async def _timed(connection: psycopg.Connection, worker: int) -> Figure:
    """From the first tenth on, so that starting up and warming up are not measured."""
    before = await _until_stored(connection, INTEGRATIONS // 10)
    started, used = time.perf_counter(), cpu_seconds(worker)
    after = await _until_stored(connection, INTEGRATIONS)
    seconds, used = time.perf_counter() - started, cpu_seconds(worker) - used
    checks = after - before
    notes = {"worker_cpu_us_per_check": used / checks * 1e6, "worker_core_busy": used / seconds}
    return Figure("pipeline", checks / seconds, "checks/s", notes=notes)


async def _until_stored(connection: psycopg.Connection, checks: int) -> int:
    async with asyncio.timeout(LIMIT_SECONDS):
        while (stored := _count(connection, _STORED)) < checks:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return stored


async def _until_sound(connection: psycopg.Connection, expected: tuple[int, ...]) -> None:
    """Each check counted once and healthy, each change of status announced; or it is no figure."""
    try:
        async with asyncio.timeout(10):
            while (found := connection.execute(_SOUND).fetchone()) != expected:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        failed = connection.execute(_FAILED).fetchall()
        raise RuntimeError(
            f"Healthy checks, integrations, states and events: {found}, not {expected}."
            f" Not healthy: {failed}"
        ) from error


def _count(connection: psycopg.Connection, query: str) -> int:
    [count] = connection.execute(query).fetchone() or (0,)
    return int(count)


def _bare_loop(url: str) -> float:
    """Requests per second of httpx alone, on the core that our worker had."""

    async def loop() -> float:
        limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        async with httpx.AsyncClient(limits=limits, trust_env=False) as http:

            async def many(requests: int) -> None:
                for _ in range(requests):
                    answer = await http.get(url)
                    answer.raise_for_status()

            await asyncio.gather(*(many(2) for _ in range(IN_FLIGHT)))
            started = time.perf_counter()
            await asyncio.gather(*(many(LOOP_REQUESTS // IN_FLIGHT) for _ in range(IN_FLIGHT)))
            return LOOP_REQUESTS / (time.perf_counter() - started)

    os.sched_setaffinity(0, {UNDER_TEST})
    try:
        return asyncio.run(loop())
    finally:
        os.sched_setaffinity(0, BESIDE)
