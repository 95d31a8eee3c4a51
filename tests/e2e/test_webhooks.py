"""Webhooks on the real processes: delivered, although a worker is killed in the middle."""

import asyncio

import psycopg
from tests.support.events import report
from tests.support.processes import System
from tests.support.webhooks import KEY, receiving, until

from stella_runtime.persistence import Database


async def test_a_worker_that_is_killed_in_the_middle_of_a_call_loses_nothing(
    system: System, database: Database, database_url: str
) -> None:
    # Secrets in variables are for development; the vaults are not what this is about.
    system.environment = {**system.environment, "STELLA_ENVIRONMENT": "embedded", "HOOK_KEY": KEY}
    async with receiving() as receiver:
        receiver.answers("/a", "hang")
        await system.start("api", "worker")
        async with system.client() as client:
            answer = await client.post(
                "/webhooks",
                json={"url": f"{receiver.url}/a", "authRefUri": "authref://env/HOOK_KEY"},
            )
            assert answer.status_code == 201, answer.text
            path = f"/webhooks/{answer.json()['id']}/deliveries"
            await report(database, "first", "second")
            await until(lambda: receiver.in_flight["/a"] == 1)
            await system.kill("worker")
            receiver.answers("/a", 204)
            receiver.go_on.set()
            with psycopg.connect(database_url) as connection:
                # What the lease's minute does.
                connection.execute("update webhook_state set leased_until = now()")
            await system.start("worker")
            while True:
                found = (await client.get(path)).json()["items"]
                if [each["state"] for each in found] == ["delivered", "delivered"]:
                    break
                await asyncio.sleep(0.05)

    calls = receiver.calls["/a"]
    assert {each.name for each in calls} == {"first", "second"}
    # The call that was cut off is made again, with the same id.
    assert len(calls) == 3
    assert len({each.id for each in calls}) == 2
