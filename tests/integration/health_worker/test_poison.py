"""What no handler can read is put aside with the reason, and the queue goes on."""

import asyncio

import pytest
from tests.integration.health_worker.workers import COMMAND_OF, working

from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.dead_letters import open_dead_letters
from stella_runtime.messaging.topology import COMMANDS, ON_DEMAND, SCHEDULE
from stella_runtime.persistence import Database

SECRET = "hunter2"
POISON = {
    "bad JSON": b"{not json " + SECRET.encode(),
    "not text": b"\xff\xfe\x00",
    "another version": b'{"version": 99, "jobs": ["%s"]}' % SECRET.encode(),
    "wrong types": b'{"checks": "%s", "checkId": 7}' % SECRET.encode(),
    "two megabytes": b'{"checks": "' + b"x" * 2_000_000 + b'"}',
}


@pytest.mark.parametrize("queue", [SCHEDULE, ON_DEMAND])
async def test_poison_is_put_aside_with_its_reason_and_what_follows_is_done(
    database: Database, database_url: str, amqp_url: str, queue: str
) -> None:
    good = await COMMAND_OF[queue](database)

    async with (
        working(database, database_url, amqp_url) as worker,
        open_dead_letters(amqp_url) as letters,
    ):
        for name, body in POISON.items():
            await worker.bus.publish(Message(name, COMMANDS, queue, body))
        await worker.bus.publish(good)
        await worker.until_taken(queue, len(POISON) + 1)
        async with asyncio.timeout(30):
            while worker.died(queue) < len(POISON):  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.02)
        found = await letters.look(f"{queue}.dead", limit=10)

    assert {each.id for each in found} == set(POISON)
    assert all(each.reason.startswith("ValidationError: ") for each in found)
    assert not any(SECRET in each.reason for each in found)
    async with database.system_transaction() as transaction:
        assert (await transaction.scheduling.count_groups())[0].status == "unhealthy"
