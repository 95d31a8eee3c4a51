"""Checks per second of a Celery worker on the core that ours had: the faster of its two pools."""

import asyncio
import os
import time
from uuid import uuid4

import psycopg

from tests.bench import celery_app
from tests.bench.stack import Databases, process

TASKS = 4000
LIMIT_SECONDS = 120
POOLS = {"prefork": 4, "threads": 8}
"""With how many processes or threads."""

_STORED = "select count(*) from peer_history where status = 'healthy'"


async def measure(databases: Databases, amqp_url: str, origins: list[str]) -> dict[str, float]:
    """By name for the table: the faster pool is the reference, the other is told beside it."""
    rates = {}
    for pool in POOLS:
        url = databases.make(f"celery_{pool}")
        rates[pool] = await _rate(url, amqp_url, origins, pool)
    best = max(rates, key=lambda pool: rates[pool])
    return {"celery": rates[best]} | {
        f"celery_{pool}": rate for pool, rate in rates.items() if pool != best
    }


async def _rate(postgres_url: str, amqp_url: str, origins: list[str], pool: str) -> float:
    environment = {"PEER_AMQP_URL": amqp_url, "PEER_DATABASE_URL": postgres_url}
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(celery_app.TABLE)
        await asyncio.to_thread(_fill, amqp_url, origins)
        async with process(
            "-m", "celery", "--app", "tests.bench.celery_app", "worker", "--pool", pool,
            "--concurrency", str(POOLS[pool]), "--loglevel", "ERROR", "--without-gossip",
            "--without-mingle", "--without-heartbeat",
            environment=environment | {"C_FORCE_ROOT": "1"}, is_under_test=True,
        ):  # fmt: skip
            before = await _until_stored(connection, TASKS // 10)
            started = time.perf_counter()
            after = await _until_stored(connection, TASKS)
            return (after - before) / (time.perf_counter() - started)


def _fill(amqp_url: str, origins: list[str]) -> None:
    os.environ["PEER_AMQP_URL"] = amqp_url
    celery_app.app.conf.broker_url = amqp_url
    with celery_app.app.producer_pool.acquire(block=True) as producer:
        for number in range(TASKS):
            endpoint = f"{origins[number % len(origins)]}/registry-{number}"
            celery_app.check.apply_async((str(uuid4()), endpoint), producer=producer)


async def _until_stored(connection: psycopg.Connection, tasks: int) -> int:
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            [stored] = connection.execute(_STORED).fetchone() or (0,)
            if stored >= tasks:
                return int(stored)
            await asyncio.sleep(0.05)
