"""
How late live checks are while a hundred hosts accept connections and never answer.

Ten thousand live integrations and a hundred dead ones fall due side by side within twenty
seconds, for one worker on one core. The reference is the same without the dead.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.bench.figures import Figure
from tests.bench.stack import answers, process, settings
from tests.support.ports import free_port

LIVE = 10_000
DEAD = 100
SECONDS = 20
BEFORE_SECONDS = 10
"""Until the first is due: the processes have started by then."""
LIMIT_SECONDS = 120

_TABLE = "create table if not exists bench_due (integration_id uuid primary key, due timestamptz)"
# In statements of their own: the trigger on schedule_state has to see the integration.
_REGISTER = (
    """
    create temporary table moments as
    select n, gen_random_uuid() as id, now() + %(before)s * interval '1 second'
        + random() * %(seconds)s * interval '1 second' as due
    from generate_series(1, %(count)s) n
    """,
    """
    insert into integrations (id, tenant_id, type, name, config_json, check_interval_seconds,
        check_timeout_seconds)
    select id, 'acme', 'harbor', %(name)s || n,
        jsonb_build_object('endpoint', replace(%(endpoint)s, '<n>', n::text)), 86400, 10
    from moments
    """,
    """
    insert into schedule_state (integration_id, tenant_id, next_check_at)
    select id, 'acme', due from moments
    """,
    "insert into bench_due select id, due from moments where %(name)s = 'live-'",
    "drop table moments",
)
_MISSING = """
select count(*) from schedule_state s join bench_due b using (integration_id)
where s.checks_done = 0
"""
_LATE = """
select 1000 * percentile_cont(0.99) within group (
    order by extract(epoch from h.checked_at - b.due))
from health_checks h join bench_due b using (integration_id)
"""
_CLEAN = "truncate integrations, schedule_state, health_checks, incidents, bench_due cascade"


async def measure(postgres_url: str, amqp_url: str) -> Figure:
    """Milliseconds from due to checked, at p99, of the live ones."""
    environment = settings(postgres_url, amqp_url)
    async with process("-m", "stella_discovery", "--once", environment=environment) as discovery:
        await discovery.wait()
    port = free_port()
    async with process("-m", "tests.bench.target", str(port), environment={}):
        await answers(f"http://127.0.0.1:{port}")
        alone = await _late_ms(postgres_url, amqp_url, port, dead=0)
        beside = await _late_ms(postgres_url, amqp_url, port, dead=DEAD)
    return Figure("dead_hosts_p99_ms", beside, "ms", {"no_dead_hosts": alone})


async def _late_ms(postgres_url: str, amqp_url: str, port: int, *, dead: int) -> float:
    with _hanging() as dead_port, psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(_TABLE)
        connection.execute(_CLEAN)
        for name, count, endpoint in (
            ("live-", LIVE, f"http://127.0.0.1:{port}"),
            ("dead-", dead, f"http://127.0.1.<n>:{dead_port}"),
        ):
            values = {"name": name, "count": count, "endpoint": endpoint}
            values |= {"before": BEFORE_SECONDS, "seconds": SECONDS}
            for statement in _REGISTER:
                connection.execute(statement, values)
        scheduler_port, worker_port = str(free_port()), str(free_port())
        async with (
            process(
                "-m", "stella_health_worker", "--role", "scheduler",
                environment=settings(postgres_url, amqp_url, STELLA_PORT=scheduler_port),
            ),
            process(
                "-m", "stella_health_worker", "--role", "worker", is_under_test=True,
                environment=settings(
                    postgres_url, amqp_url, STELLA_PORT=worker_port, STELLA_DRAIN_SECONDS="1",
                    # The live ones share one host here.
                    STELLA_HOST_CONCURRENCY="1000",
                ),
            ),
            asyncio.timeout(LIMIT_SECONDS),
        ):  # fmt: skip
            while _number(connection, _MISSING):  # noqa: ASYNC110 - another process counts
                await asyncio.sleep(0.1)
        return _number(connection, _LATE)


@contextmanager
def _hanging() -> Iterator[int]:
    """A port that connections are made to and that nobody reads, on every loopback address."""
    with socket.create_server(("0.0.0.0", 0), backlog=4096) as listening:
        yield listening.getsockname()[1]


def _number(connection: psycopg.Connection, query: str) -> float:
    [number] = connection.execute(query).fetchone() or (0,)
    return float(number or 0)
