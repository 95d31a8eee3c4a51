"""PostgreSQL goes away under load: every caller hears the truth, and nobody restarts us."""

import asyncio

import pytest
from tests.integration.faults.served import (
    Callers,
    assert_nothing_is_half_written,
    calling,
    served,
)
from tests.support.api import Authority
from tests.support.postgres import start_again

from stella_embedded.postgres import EmbeddedPostgres


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_requests_are_served_or_told_to_retry_while_the_database_restarts(
    own_migrated_server: EmbeddedPostgres, authority: Authority, way: str
) -> None:
    server = own_migrated_server
    async with served(server.url(), authority) as system:
        callers = Callers(system.hub.client())
        async with calling(callers):
            for _ in range(2):
                await callers.reach(20)
                await asyncio.to_thread(getattr(server, way))
                await callers.meet(503)
                await start_again(server)
            await callers.reach(20)

        await system.announces(set(callers.acknowledged.values()))

    assert_nothing_is_half_written(server.url(), callers.acknowledged)
    assert callers.reads[200]
