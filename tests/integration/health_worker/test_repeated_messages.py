"""What a worker is told twice, or ten times, has one effect: for each command that it consumes."""

import asyncio

import psycopg
import pytest
from tests.integration.health_worker.workers import COMMAND_OF, working

from stella_runtime.messaging.topology import ON_DEMAND, SCHEDULE
from stella_runtime.persistence import Database

EFFECT = {
    "history": 1,
    "incidents": 1,
    "integration.health.changed": 1,
    "integration.alert.opened": 1,
}


def effects(database_url: str) -> dict[str, int]:
    with psycopg.connect(database_url) as connection:
        [history] = connection.execute("select count(*) from health_checks").fetchone() or (0,)
        [incidents] = connection.execute("select count(*) from incidents").fetchone() or (0,)
        events = connection.execute(
            "select event_type, count(*) from outbox"
            " where event_type like 'integration.%' group by 1"
        ).fetchall()
    return {"history": history, "incidents": incidents} | {str(name): n for name, n in events}


@pytest.mark.parametrize("queue", [SCHEDULE, ON_DEMAND])
async def test_a_command_that_comes_ten_times_has_one_effect(
    database: Database, database_url: str, amqp_url: str, queue: str
) -> None:
    command = await COMMAND_OF[queue](database)

    async with working(database, database_url, amqp_url) as worker:
        for _ in range(10):
            await worker.bus.publish(command)
        await worker.until_taken(queue, 10)

    assert effects(database_url) == EFFECT


@pytest.mark.parametrize("queue", [SCHEDULE, ON_DEMAND])
async def test_a_worker_cut_off_between_commit_and_acknowledgement_repeats_nothing(
    database: Database, database_url: str, amqp_url: str, queue: str
) -> None:
    command = await COMMAND_OF[queue](database)

    async with working(database, database_url, amqp_url) as worker:
        # The acknowledgement is under way while the commit can be seen already.
        worker.network.latency = 0.5
        await worker.bus.publish(command)
        async with asyncio.timeout(30):
            while effects(database_url)["history"] != 1:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.02)
        worker.network.reset()
        worker.network.latency = 0.0
        await worker.until_taken(queue, 2)
        await worker.until_idle(queue)

    assert effects(database_url) == EFFECT
