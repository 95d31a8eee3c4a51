"""Workers that are killed, paused or asked to go, and hosts whose clock is wrong."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.integration.egress.answering import Server, serving
from tests.integration.health_worker.whole import Told, eventually
from tests.support.catalog import register
from tests.support.processes import System

from stella_runtime.persistence import Database

REPORT = b'{"status":"healthy","components":[{"name":"core","status":"healthy"}]}'
HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(REPORT) + REPORT
RESULTS = "select count(*) from health_checks"
SHORT_LEASE = {"STELLA_LEASE_MARGIN_SECONDS": "2"}


@dataclass
class Tool:
    """A tool that answers once it is let to."""

    server: Server
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def is_asked(self, times: int = 1) -> bool:
        return len(self.server.requests) >= times


@asynccontextmanager
async def slow_tool() -> AsyncIterator[Tool]:
    may_answer = asyncio.Event()

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await may_answer.wait()
        writer.write(HEALTHY)
        await writer.drain()

    async with serving(behave) as server:
        try:
            yield Tool(server, may_answer)
        finally:
            may_answer.set()


@pytest.fixture
async def tool() -> AsyncIterator[Tool]:
    async with slow_tool() as tool:
        yield tool


@pytest.fixture
def told(database_url: str) -> Iterator[Told]:
    told = Told(database_url)
    yield told
    told.close()


async def being_checked(
    system: System, database: Database, tool: Tool, *, timeout_seconds: int, **settings: str
) -> None:
    """One worker asks the tool, which does not answer yet."""
    await system.start("discovery")
    await system.start("scheduler", **settings)
    await system.start("worker-a", STELLA_WORKER_NAME="worker-a", **settings)
    await register(
        database,
        type="harbor",
        config={"endpoint": tool.server.url},
        check_timeout_seconds=timeout_seconds,
        check_interval_seconds=86400,
    )
    await eventually(tool.is_asked)


async def says(system: System, name: str, metric: str) -> None:
    """Wait until a service's metrics hold a line."""
    async with asyncio.timeout(40):
        while metric not in await system.metrics(name):  # noqa: ASYNC110 - another process says it
            await asyncio.sleep(0.1)


async def test_a_worker_that_was_paused_past_its_lease_changes_nothing(
    system: System, database: Database, tool: Tool, told: Told
) -> None:
    await being_checked(system, database, tool, timeout_seconds=2, **SHORT_LEASE)

    with system.frozen("worker-a"):
        await system.start("worker-b", STELLA_WORKER_NAME="worker-b", **SHORT_LEASE)
        tool.may_answer.set()
        await eventually(lambda: told.number(RESULTS) == 1, seconds=90)

    await says(system, "worker-a", 'integration_stale_results_total{reason="lease_lost"}')
    assert told.rows("select worker, status from health_checks") == [("worker-b", "healthy")]
    assert told.number("select checks_done from schedule_state") == 1


async def test_the_check_of_a_worker_that_was_killed_is_made_by_another_once(
    system: System, database: Database, tool: Tool, told: Told
) -> None:
    await being_checked(system, database, tool, timeout_seconds=2, **SHORT_LEASE)

    await system.kill("worker-a")
    tool.may_answer.set()
    await system.start("worker-b", STELLA_WORKER_NAME="worker-b", **SHORT_LEASE)

    await eventually(lambda: told.number(RESULTS) == 1, seconds=90)
    assert told.rows("select worker from health_checks") == [("worker-b",)]
    assert told.number("select count(*) from schedule_state where slot_at is not null") == 0


async def test_what_a_worker_cannot_finish_in_time_is_due_at_once_when_it_is_gone(
    system: System, database: Database, tool: Tool, told: Told
) -> None:
    await being_checked(system, database, tool, timeout_seconds=60, STELLA_DRAIN_SECONDS="1")
    # From here on its message is settled, and only its lease could bring it back: in 90 s.
    await says(system, "worker-a", "integration_checks_aside 1.0")
    await system.stop("scheduler")

    assert await system.stop("worker-a") == 0

    assert told.number("select count(*) from schedule_state where next_check_at <= now()") == 1
    assert told.number(RESULTS) == 0
    tool.may_answer.set()
    await system.start("scheduler")
    await system.start("worker-b", STELLA_WORKER_NAME="worker-b")
    await eventually(lambda: told.number(RESULTS) == 1)
    assert told.rows("select worker from health_checks") == [("worker-b",)]


async def test_what_a_worker_can_finish_in_time_is_finished(
    system: System, database: Database, tool: Tool, told: Told
) -> None:
    await being_checked(system, database, tool, timeout_seconds=30)

    stopping = asyncio.create_task(system.stop("worker-a"))
    await eventually(lambda: '"stopping"' in system.services["worker-a"].said())
    tool.may_answer.set()

    assert await stopping == 0
    assert told.rows("select worker, status from health_checks") == [("worker-a", "healthy")]
    assert told.number("select count(*) from schedule_state where slot_at is null") == 1


def an_hour_off(offset: str) -> dict[str, str]:
    """The environment of a process that believes another time."""
    found = list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.fail("There is no libfaketime. Run tests/support/install-servers.sh.")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


async def test_hosts_whose_clocks_are_an_hour_off_check_as_often_as_others(
    system: System, database: Database, told: Told
) -> None:
    await system.start("discovery")
    for _ in range(5):
        await register(database, check_interval_seconds=300)
    await system.start("scheduler", **an_hour_off("+3600s"))
    await system.start("scheduler-b", **an_hour_off("-3600s"))
    await system.start("worker-a", **an_hour_off("-3600s"))
    await system.start("worker-b", **an_hour_off("+3600s"))

    await eventually(lambda: told.number("select min(checks_done) from schedule_state") == 1)
    # Another round by the database's clock, in which nobody else is claimed.
    told.execute(
        "update schedule_state set next_check_at = now() where integration_id ="
        " (select min(integration_id::text)::uuid from schedule_state)"
    )
    await eventually(lambda: told.number("select max(checks_done) from schedule_state") == 2)

    assert told.number("select sum(checks_done) from schedule_state") == 6
    assert told.number("select sum(lease_token) from schedule_state") == 6
    late = "select max(abs(extract(epoch from checked_at - now()))) from health_checks"
    assert told.number(late) < 600
    early = "select count(*) from schedule_state where next_check_at < now() + interval '4 minutes'"
    assert told.number(early) == 0
