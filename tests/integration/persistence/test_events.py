"""Committed events in an order that can be resumed: nothing appears behind a reader."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from tests.support.catalog import TENANT
from tests.support.events import an_event, report

from stella_runtime.persistence import Database
from stella_runtime.persistence.events import START, EventPage, Place

OTHER = "globex"


async def read(
    database: Database, after: Place = START, *, tenant: str = TENANT, limit: int = 100
) -> EventPage:
    async with database.transaction(tenant) as transaction:
        return await transaction.events.read(after, limit=limit)


def names(page: EventPage) -> list[str]:
    return [each.body.decode().split('"name":"')[1].split('"')[0] for each in page.events]


async def test_an_event_that_is_committed_late_is_not_lost_to_a_reader_that_went_on(
    database: Database,
) -> None:
    async with database.transaction(TENANT) as slow:
        slow.outbox.report(an_event("drawn first, committed last"))
        await slow.outbox.flush()
        await report(database, "drawn last, committed first")
        before = await read(database)
        # What flush wrote must not be written again with the commit.
        slow.outbox = type(slow.outbox)(slow.outbox._session)
    after = await read(database, before.place)

    assert names(before) == []
    assert names(after) == ["drawn first, committed last", "drawn last, committed first"]
    assert before.settled_at < before.next_transaction
    assert after.settled_at == after.next_transaction


async def test_pages_follow_each_other_without_a_gap_or_a_repetition(database: Database) -> None:
    await report(database, "a", "b", "c")
    await report(database, "d", "e")
    found, place = [], START

    for _ in range(3):
        page = await read(database, place, limit=2)
        found.append(names(page))
        place = page.place

    assert found == [["a", "b"], ["c", "d"], ["e"]]
    assert names(await read(database, place)) == []


async def test_a_page_holds_the_tenants_own(database: Database) -> None:
    await report(database, "ours")
    await report(database, "theirs", tenant=OTHER)

    assert names(await read(database)) == ["ours"]
    assert names(await read(database, tenant=OTHER)) == ["theirs"]


async def test_news_name_the_tenants_that_have_some(database: Database) -> None:
    await report(database, "old")
    async with database.system_transaction() as transaction:
        first = await transaction.event_news.look([TENANT, OTHER], since=0)
    await report(database, "new", tenant=OTHER)
    async with database.system_transaction() as transaction:
        second = await transaction.event_news.look([TENANT, OTHER], since=first.settled_at)

    assert first.tenants == {TENANT}
    assert second.tenants == {OTHER}


async def test_deleting_is_remembered_for_the_tenant_that_lost_something(
    database: Database, database_url: str
) -> None:
    await report(database, "old")
    await report(database, "theirs", tenant=OTHER)
    [event] = (await read(database)).events
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update outbox set published_at = now() - interval '2 days' where tenant_id = %s",
            [TENANT],
        )
    async with database.system_transaction() as transaction:
        await transaction.outbox.purge(timedelta(days=1))
    ours, theirs = await read(database), await read(database, tenant=OTHER)

    assert (names(ours), ours.deleted_to) == ([], event.place)
    assert (names(theirs), theirs.deleted_to) == (["theirs"], START)


async def test_events_of_before_a_moment_can_be_left_out(database: Database) -> None:
    await report(database, "old")
    async with database.transaction(TENANT) as transaction:
        page = await transaction.events.read(
            START, limit=10, since=datetime.now(UTC) + timedelta(minutes=1)
        )

    assert names(page) == []


@pytest.mark.parametrize("limit", [1, 5])
async def test_reading_again_from_the_same_place_finds_the_same(
    database: Database, limit: int
) -> None:
    await report(database, *"abcde")

    assert names(await read(database, limit=limit)) == names(await read(database, limit=limit))
