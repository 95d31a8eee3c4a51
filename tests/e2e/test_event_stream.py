"""A stream of events on the real process: heard over the broker, and ended by SIGTERM."""

import asyncio

from tests.support.events import Reader, report
from tests.support.processes import System

from stella_runtime.persistence import Database


async def test_an_open_stream_hears_of_what_others_commit_and_does_not_hold_up_the_end(
    system: System, database: Database
) -> None:
    await system.start("api")
    async with system.client() as client, client.stream("GET", "/events") as response:
        reader = Reader(response)
        await reader.beat()
        await report(database, "registry-eu")
        [heard] = await reader.take(1)
        stopping = asyncio.create_task(system.stop("api"))
        rest = await reader.rest()
        code = await stopping

    assert heard.name == "registry-eu"
    assert [(each.type, each.data) for each in rest] == [("end", {"reason": "server_stopping"})]
    assert code == 0, system.services["api"].said()
    assert "without completing" not in system.services["api"].said()
