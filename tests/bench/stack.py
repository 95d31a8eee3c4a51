"""What a benchmark runs on: real servers, and processes that each have one core."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx

from stella_migrations.commands import upgrade
from tests.support.postgres import binaries_of, running_server
from tests.support.rabbitmq import local_server

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 30
CORES = sorted(os.sched_getaffinity(0))
UNDER_TEST = CORES[0]
"""The core of the process that is measured. Everything else shares the others."""
BESIDE = set(CORES[1:]) or {UNDER_TEST}


@contextmanager
def servers() -> Iterator[tuple[str, str]]:
    """A migrated database and a broker, beside the core under test: their addresses."""
    os.sched_setaffinity(0, BESIDE)
    with running_server(binaries_of(None)) as postgres, local_server() as rabbitmq:
        postgres_url = postgres.url()
        upgrade(postgres_url)
        yield postgres_url, rabbitmq.amqp


@asynccontextmanager
async def process(
    *arguments: str, environment: Mapping[str, str], is_under_test: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a Python module: on the core that is measured, or beside it."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    pinned = {UNDER_TEST} if is_under_test else BESIDE
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=REPOSITORY,
        env=inherited | dict(environment),
        stdout=asyncio.subprocess.DEVNULL,
    )
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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def settings(postgres_url: str, amqp_url: str, **more: str) -> Mapping[str, str]:
    """The environment of a service."""
    return {
        "STELLA_DATABASE_URL": postgres_url,
        "STELLA_AMQP_URL": amqp_url,
        "STELLA_EGRESS_ALLOW": "127.0.0.0/8",
        "STELLA_BUILTIN_PLUGIN_PATH": str(REPOSITORY / "plugins"),
        "STELLA_LOG_LEVEL": "warning",
    } | more
