"""Hosts that hang, flood or lead astray, and the others beside them, over real sockets."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from tests.integration.egress.answering import (
    Behaviour,
    Server,
    for_ever,
    hanging,
    saying,
    serving,
)
from tests.integration.health_worker.whole import Told, eventually, working
from tests.support.catalog import register

from stella_runtime.persistence import Database

OK = b"HTTP/1.1 200 OK\r\n"
REPORT = b'{"status":"healthy","components":[{"name":"core","status":"healthy"}]}'
HEALTHY = (
    OK + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(REPORT) + REPORT
)
BOMB = gzip.compress(bytes(64 * 1024 * 1024))
CHECKED = "select count(*) from schedule_state s join integrations i on i.id = s.integration_id"


@pytest.fixture
def told(database_url: str) -> Iterator[Told]:
    told = Told(database_url)
    yield told
    told.close()


@asynccontextmanager
async def servers(*behaviours: Behaviour) -> AsyncIterator[list[Server]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(serving(each)) for each in behaviours]


async def add(database: Database, server: Server, count: int, name: str, **fields: Any) -> None:
    for number in range(count):
        await register(
            database,
            type="harbor",
            name=f"{name}-{number}",
            config={"endpoint": server.url},
            **fields,
        )


async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte now and then: never an answer, never silence."""
    writer.write(OK + b"Content-Length: 1000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"{")
        await writer.drain()
        await asyncio.sleep(0.05)


class Busiest:
    """How many connections a server had at most at once."""

    def __init__(self, server: Server) -> None:
        self.most = 0
        self._server = server
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            self.most = max(self.most, self._server.open)
            await asyncio.sleep(0.002)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


async def test_one_host_that_hangs_delays_no_other_and_is_shut_out(
    database: Database, told: Told
) -> None:
    async with servers(hanging, saying(HEALTHY)) as (dead, live):
        await add(database, dead, 40, "dead", check_timeout_seconds=2)
        await add(database, live, 100, "live")
        busiest = Busiest(dead)

        async with working(database, host_concurrency=2, concurrency=10) as metrics:
            # The first two of the dead still hang: with them in the way, none would be finished.
            await eventually(
                lambda: (
                    told.number(f"{CHECKED} where i.name like 'live%%' and checks_done > 0") == 100
                )
            )
            assert told.number(f"{CHECKED} where i.status = 'healthy'") == 100
            await eventually(lambda: b"integration_hosts_shut_out 1.0" in metrics.exposition())
            await eventually(lambda: told.number(f"{CHECKED} where checks_done = 0") == 0)
        await busiest.stop()

    assert busiest.most == 2
    found = told.rows(
        "select error_code, error_message like 'The host did not answer %% times in a row%%',"
        " count(*) from health_checks h join integrations i on i.id = h.integration_id"
        " where i.name like 'dead%%' group by 1, 2"
    )
    counts = {(code, is_refused): count for code, is_refused, count in found}
    assert set(counts) == {("timeout", False), ("timeout", True)}
    # Five in a row, and what was under way then.
    assert 5 <= counts["timeout", False] <= 7


async def test_a_target_that_misbehaves_costs_its_own_check_only(
    database: Database, told: Told
) -> None:
    bodies = {
        "hanging": (hanging, "timeout"),
        "a-drop-at-a-time": (drop, "timeout"),
        "headers-without-end": (for_ever(OK, b"X-More: 1\r\n"), "bad_response"),
        "body-without-end": (for_ever(OK + b"\r\n", bytes(10_000)), "bad_response"),
        "gzip-bomb": (
            saying(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
            "bad_response",
        ),
        "redirect": (
            saying(
                b"HTTP/1.1 302 Found\r\nLocation: /api/v2.0/health\r\nContent-Length: 0\r\n\r\n"
            ),
            "misconfigured",
        ),
    }
    async with servers(*(behave for behave, _ in bodies.values()), saying(HEALTHY)) as listening:
        for name, server in zip(bodies, listening, strict=False):
            await add(database, server, 2, name, check_timeout_seconds=1)
        await add(database, listening[-1], 20, "live")

        async with working(database, concurrency=2, slow_concurrency=2):
            await eventually(lambda: told.number(f"{CHECKED} where checks_done = 0") == 0)
            # Each slot is free again: the others are checked a second time.
            told.execute(
                "update schedule_state s set next_check_at = now() from integrations i"
                " where i.id = s.integration_id and i.name like 'live%%'"
            )
            await eventually(
                lambda: (
                    told.number(f"{CHECKED} where i.name like 'live%%' and checks_done < 2") == 0
                )
            )

    found = told.rows(
        "select distinct regexp_replace(i.name, '-[0-9]+$', ''), coalesce(error_code, 'none')"
        " from health_checks h join integrations i on i.id = h.integration_id"
    )
    expected = {(name, code) for name, (_, code) in bodies.items()} | {("live", "none")}
    assert set(found) == expected
