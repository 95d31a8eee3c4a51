"""
Scheduled checks from the queue to the committed history, on one worker core.

The reference is a bare loop of httpx on the same core, against the same target: it stores
nothing, announces nothing and knows no schedule.
"""

import asyncio
import os
import time

import httpx
import psycopg

from tests.bench.figures import Figure
from tests.bench.stack import BESIDE, UNDER_TEST, answers, free_port, process, settings

INTEGRATIONS = 6000
IN_FLIGHT = 50
LOOP_REQUESTS = 2000
LIMIT_SECONDS = 180

_REGISTER = """
with added as (
    insert into integrations (id, tenant_id, type, name, config_json, check_interval_seconds,
        check_timeout_seconds)
    select gen_random_uuid(), 'acme', 'harbor', 'registry-' || n, %s::jsonb, 86400, 10
    from generate_series(1, %s) n returning id, tenant_id)
insert into schedule_state (integration_id, tenant_id, next_check_at)
select id, tenant_id, now() from added
"""


async def measure(postgres_url: str, amqp_url: str) -> Figure:
    """Checks per second of ours, and requests per second of the bare loop."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    async with process("-m", "tests.bench.target", str(port), environment={}):
        await answers(endpoint)
        ours = await _checks_per_second(postgres_url, amqp_url, endpoint)
        bare = await asyncio.to_thread(_bare_loop, f"{endpoint}/api/v2.0/health")
    return Figure("pipeline", ours, "checks/s", {"httpx_loop": bare})


async def _checks_per_second(postgres_url: str, amqp_url: str, endpoint: str) -> float:
    environment = settings(postgres_url, amqp_url)
    async with process("-m", "stella_discovery", "--once", environment=environment) as discovery:
        await discovery.wait()
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(_REGISTER, [f'{{"endpoint": "{endpoint}"}}', INTEGRATIONS])
        scheduler_port, worker_port = str(free_port()), str(free_port())
        async with process(
            "-m", "stella_health_worker", "--role", "scheduler",
            environment=settings(postgres_url, amqp_url, STELLA_PORT=scheduler_port),
        ):  # fmt: skip
            # The queue is filled first: what is measured is the worker, not the scheduler.
            await _until(connection, "select count(*) from schedule_state where slot_at is null", 0)
        async with process(
            "-m", "stella_health_worker", "--role", "worker", is_under_test=True,
            environment=settings(
                postgres_url, amqp_url, STELLA_PORT=worker_port,
                # One target stands for thousands.
                STELLA_HOST_CONCURRENCY="1000", STELLA_TENANT_CONCURRENCY="1000",
            ),
        ):  # fmt: skip
            # From the first tenth on, so that starting up and warming up are not measured.
            await _until(connection, _MISSING, INTEGRATIONS * 9 // 10)
            started, left = time.perf_counter(), _count(connection, _MISSING)
            await _until(connection, _MISSING, 0)
            seconds = time.perf_counter() - started
        healthy = _count(connection, "select count(*) from integrations where status = 'healthy'")
    if healthy != INTEGRATIONS:
        raise RuntimeError(f"Only {healthy} of {INTEGRATIONS} checks found the target healthy.")
    return left / seconds


_MISSING = "select count(*) from schedule_state where checks_done = 0"


def _count(connection: psycopg.Connection, query: str) -> int:
    [count] = connection.execute(query).fetchone() or (0,)
    return int(count)


async def _until(connection: psycopg.Connection, query: str, at_most: int) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while _count(connection, query) > at_most:  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(0.02)


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
