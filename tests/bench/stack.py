"""What a benchmark runs on: real servers, and processes that each have one core."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import psycopg
from psycopg import sql

from stella_embedded.postgres import EmbeddedPostgres
from stella_migrations.commands import upgrade
from tests.support.postgres import binaries_of, running_server
from tests.support.rabbitmq import local_server

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 30
SHARED_BUFFERS = "1GB"
"""PostgreSQL's default of 128 MB is for small machines: a million integrations do not fit."""
CORES = sorted(os.sched_getaffinity(0))
UNDER_TEST = CORES[0]
"""The core of the process that is measured. Everything else shares the others."""
BESIDE = set(CORES[1:]) or {UNDER_TEST}


@dataclass(frozen=True)
class Databases:
    """The PostgreSQL of this run."""

    server: EmbeddedPostgres

    def make(self, name: str) -> str:
        """The address of a new, empty database."""
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.server.url(name)

    async def migrated(self, name: str) -> str:
        """The address of a new database with our tables."""
        url = self.make(name)
        # A loop of its own runs in there.
        await asyncio.to_thread(upgrade, url)
        return url


@contextmanager
def servers() -> Iterator[tuple[Databases, str]]:
    """PostgreSQL, and the address of a broker, beside the core under test."""
    os.sched_setaffinity(0, BESIDE)
    with running_server(binaries_of(None)) as postgres, local_server() as rabbitmq:
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            connection.execute(f"alter system set shared_buffers = '{SHARED_BUFFERS}'")
        postgres.stop()
        postgres.start()
        yield Databases(postgres), rabbitmq.amqp


@asynccontextmanager
async def process(
    *arguments: str,
    environment: Mapping[str, str],
    is_under_test: bool = False,
    program: str = sys.executable,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a Python module, or another program: on the core that is measured, or beside it."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    pinned = {UNDER_TEST} if is_under_test else BESIDE
    started = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        cwd=REPOSITORY,
        env=inherited | dict(environment),
        stdout=asyncio.subprocess.DEVNULL,
    )
    # Later threads and children inherit it.
    os.sched_setaffinity(started.pid, pinned)
    try:
        yield started
    finally:
        if started.returncode is None:
            started.terminate()
        await asyncio.wait_for(started.wait(), START_SECONDS)


async def answers(url: str) -> None:
    """Wait until a server answers, with whatever."""
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient() as http:
        while True:
            try:
                await http.get(url)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return


def settings(postgres_url: str, amqp_url: str, **more: str) -> Mapping[str, str]:
    """The environment of a service."""
    return {
        "STELLA_DATABASE_URL": postgres_url,
        "STELLA_AMQP_URL": amqp_url,
        "STELLA_EGRESS_ALLOW": "127.0.0.0/8",
        "STELLA_BUILTIN_PLUGIN_PATH": str(REPOSITORY / "plugins"),
        "STELLA_LOG_LEVEL": "warning",
    } | more


def cpu_seconds(pid: int) -> float:
    """What a process and its children have used of the processor so far."""
    whole = psutil.Process(pid)
    used = 0.0
    for each in [whole, *whole.children(recursive=True)]:
        times = each.cpu_times()
        used += times.user + times.system
    return used
