"""The process itself: its arguments, its probes, its end."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.support.plugin_folders import write_plugin


@pytest.fixture
def environment(database_url: str, tmp_path: Path) -> Mapping[str, str]:
    """A built-in plugin that is found, and a broker that is not."""
    write_plugin(tmp_path / "plugins" / "example")
    inherited = {name: value for name, value in os.environ.items() if "STELLA" not in name}
    return inherited | {
        "STELLA_DATABASE_URL": database_url,
        "STELLA_AMQP_URL": "amqp://127.0.0.1:1",
        "STELLA_BUILTIN_PLUGIN_PATH": str(tmp_path / "plugins"),
        "STELLA_PORT": "0",
    }


@asynccontextmanager
async def started(
    environment: Mapping[str, str], *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stella_discovery",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(45):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until_logged(process: asyncio.subprocess.Process, event: str) -> dict[str, object]:
    assert process.stdout is not None
    async for line in process.stdout:
        entry: dict[str, object] = json.loads(line)
        if entry["event"] == event:
            return entry
    raise AssertionError(f"The process ended without {event}.")


def states(database_url: str) -> list[tuple[str, str]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute("select plugin_id, state from plugin_metadata").fetchall()


async def test_once_scans_and_ends_without_a_broker(
    environment: Mapping[str, str], database_url: str
) -> None:
    async with started(environment, "--once") as process:
        code = await process.wait()

    assert code == 0
    assert ("example", "ready") in states(database_url)


async def test_check_settings_names_what_is_missing(environment: Mapping[str, str]) -> None:
    incomplete = {k: v for k, v in environment.items() if k != "STELLA_DATABASE_URL"}

    async with started(incomplete, "--check-settings") as process:
        _, complaint = await process.communicate()

    assert process.returncode == 78
    assert complaint.startswith(b"STELLA_DATABASE_URL: ")


async def test_process_is_ready_after_its_first_scan_and_ends_when_told(
    environment: Mapping[str, str], amqp_url: str
) -> None:
    async with started({**environment, "STELLA_AMQP_URL": amqp_url}) as process:
        port = (await until_logged(process, "operations_served"))["port"]
        await until_logged(process, "plugins_scanned")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            ready: dict[str, str] = {}
            while ready.get("status") != "ready":
                ready = (await client.get("/readyz")).json()
            page = (await client.get("/metrics")).text
        process.send_signal(signal.SIGTERM)
        code = await process.wait()

    assert ready == {"status": "ready", "database": "up", "bus": "up", "scan": "up"}
    assert 'plugins_known{state="ready"} 1.0' in page
    assert code == 0
