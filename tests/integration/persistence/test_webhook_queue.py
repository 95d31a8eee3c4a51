"""Events become deliveries: each once for each endpoint that wants it, within bounds."""

import asyncio
from datetime import timedelta

import psycopg
from tests.support.catalog import TENANT
from tests.support.events import an_event, report
from tests.support.webhooks import hook, log_of

from stella_contracts.webhooks import DeliveryState
from stella_runtime.persistence import Database

OTHER = "globex"


async def test_an_endpoint_gets_the_events_of_its_tenant(database: Database) -> None:
    ours = await hook(database, "http://127.0.0.1:1/a")
    theirs = await hook(database, "http://127.0.0.1:1/a", tenant=OTHER)
    await report(database, "a", tenant=OTHER)
    async with database.system_transaction() as transaction:
        await transaction.webhook_queue.fill(limit=10, most_waiting=10)
    async with database.transaction(OTHER) as transaction_of_other:
        seen_by_other = [
            len(
                await transaction_of_other.webhook_deliveries.list_page(
                    each.id, state=None, limit=10, before=None
                )
            )
            for each in (ours, theirs)
        ]

    assert await log_of(database, ours.id) == []
    assert await log_of(database, theirs.id) == []
    assert seen_by_other == [0, 1]


async def test_an_event_is_queued_once_for_an_endpoint_however_often_it_is_looked_at(
    database: Database, database_url: str
) -> None:
    endpoint = await hook(database, "http://127.0.0.1:1/a")
    await report(database, *"abc")

    async def fill() -> int:
        async with database.system_transaction() as transaction:
            return (await transaction.webhook_queue.fill(limit=10, most_waiting=10)).deliveries

    queued = sum(await asyncio.gather(*(fill() for _ in range(4))))
    with psycopg.connect(database_url) as connection:
        connection.execute("update webhook_cursor set transaction_id = 0, sequence = 0")
    again = await fill()

    assert (queued, again) == (3, 0)
    assert len(await log_of(database, endpoint.id)) == 3


async def test_an_event_that_is_committed_late_is_queued_all_the_same(
    database: Database,
) -> None:
    endpoint = await hook(database, "http://127.0.0.1:1/a")
    async with database.transaction(TENANT) as slow:
        slow.outbox.report(an_event("slow"))
        await slow.outbox.flush()
        await report(database, "fast")
        async with database.system_transaction() as transaction:
            first = await transaction.webhook_queue.fill(limit=10, most_waiting=10)
        slow.outbox = type(slow.outbox)(slow.outbox._session)
    async with database.system_transaction() as transaction:
        second = await transaction.webhook_queue.fill(limit=10, most_waiting=10)

    assert (first.deliveries, second.deliveries) == (0, 2)
    assert len(await log_of(database, endpoint.id)) == 2


async def test_beyond_what_may_wait_events_are_dropped_and_said_so(database: Database) -> None:
    endpoint = await hook(database, "http://127.0.0.1:1/a")
    for name in "abc":
        await report(database, name)
        async with database.system_transaction() as transaction:
            await transaction.webhook_queue.fill(limit=10, most_waiting=2)

    assert [each.state for each in await log_of(database, endpoint.id)] == [
        DeliveryState.PENDING,
        DeliveryState.PENDING,
        DeliveryState.DROPPED,
    ]


async def test_the_log_ends_with_retention(database: Database, database_url: str) -> None:
    endpoint = await hook(database, "http://127.0.0.1:1/a")
    await report(database, "a", "b")
    async with database.system_transaction() as transaction:
        await transaction.webhook_queue.fill(limit=10, most_waiting=10)
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update webhook_deliveries set created_at = now() - interval '8 days'"
            " where id = (select min(id::text)::uuid from webhook_deliveries)"
        )
    async with database.system_transaction() as transaction:
        purged = await transaction.webhook_queue.purge(timedelta(days=7), limit=100)

    assert purged == 1
    assert len(await log_of(database, endpoint.id)) == 1


async def test_an_endpoint_is_given_back_while_somebody_holds_its_webhook(
    database: Database, database_url: str
) -> None:
    endpoint = await hook(database, "http://127.0.0.1:1/a")
    await report(database, "a")
    minute = timedelta(minutes=1)
    async with database.system_transaction() as transaction:
        await transaction.webhook_queue.fill(limit=10, most_waiting=10)
    async with database.system_transaction() as transaction:
        [lease] = await transaction.webhooks.claim(10, lease=minute, failing=False)
    with psycopg.connect(database_url) as connection:
        connection.execute("select from webhooks for update")
        # Who holds the webhook asks for its state next: waiting for the one with the other in
        # hand would be a deadlock.
        async with database.system_transaction() as transaction:
            await transaction.webhooks.free(lease)
    async with database.system_transaction() as transaction:
        again = await transaction.webhooks.claim(10, lease=minute, failing=False)

    assert [each.webhook_id for each in again] == [endpoint.id]
