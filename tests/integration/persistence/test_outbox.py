"""What is committed is published: claimed once, in order, and given back."""

import psycopg
import pytest
from tests.support.catalog import TENANT

from stella_contracts.errors import IntegrationNotFound
from stella_contracts.messages import Event, EventType, IntegrationChange
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database


async def report(database: Database, *integration_names: str) -> None:
    async with database.transaction(TENANT) as transaction:
        for name in integration_names:
            change = IntegrationChange(
                integration_id=IDS[name], provider_type="harbor", name=name, version=1
            )
            event = Event.of(
                new_id(),
                EventType.INTEGRATION_CREATED,
                change,
                service="api",
                tenant_id=TENANT,
            )
            transaction.outbox.report(event)


IDS = {name: new_id() for name in ("a", "b", "c")}


async def claim(database: Database, limit: int = 100) -> list[tuple[int, str]]:
    return [(each.sequence, each.ordering_key) for each in await database.claim(limit)]


def keys(claimed: list[tuple[int, str]]) -> list[str]:
    name_of = {str(identifier): name for name, identifier in IDS.items()}
    return [name_of[key] for _, key in claimed]


async def test_messages_are_claimed_once_and_oldest_first(database: Database) -> None:
    await report(database, "a", "b", "a")

    first, second = await claim(database), await claim(database)

    assert keys(first) == ["a", "b", "a"]
    assert second == []


async def test_nothing_of_a_transaction_that_failed_is_published(database: Database) -> None:
    change = IntegrationChange(integration_id=IDS["a"], provider_type="harbor", name="a", version=1)
    event = Event.of(new_id(), EventType.INTEGRATION_CREATED, change, service="api")

    with pytest.raises(IntegrationNotFound):  # noqa: PT012 - the failing transaction
        async with database.transaction(TENANT) as transaction:
            transaction.outbox.report(event)
            await transaction.integrations.get(IDS["a"])

    assert await claim(database) == []


async def test_a_later_message_of_one_integration_waits_for_an_earlier_one(
    database: Database,
) -> None:
    await report(database, "a", "a", "b")
    [first] = await claim(database, limit=1)

    others = await claim(database)
    await database.mark_published([first[0]])
    after = await claim(database)

    assert keys(others) == ["b"]
    assert keys(after) == ["a"]


async def test_what_was_released_is_claimed_again_after_a_pause_and_in_order(
    database: Database, database_url: str
) -> None:
    await report(database, "a", "a")
    claimed = await claim(database)
    await database.release([sequence for sequence, _ in claimed])

    during_the_pause = await claim(database)
    with psycopg.connect(database_url) as connection:
        connection.execute("update outbox set available_at = now()")
    after_it = await claim(database)

    assert during_the_pause == []
    assert after_it == claimed


async def test_what_a_dead_relay_had_claimed_is_claimed_again(
    database: Database, database_url: str
) -> None:
    await report(database, "a")
    lost = await claim(database)

    with psycopg.connect(database_url) as connection:
        connection.execute("update outbox set leased_until = now() - interval '1 second'")

    assert await claim(database) == lost


async def test_a_commit_wakes_the_relay_and_a_rollback_does_not(database: Database) -> None:
    woken: list[str] = []
    database.announce_commits_to(lambda: woken.append("woken"))

    async with database.transaction(TENANT):
        pass
    before = list(woken)
    await report(database, "a")

    assert before == []
    assert woken == ["woken"]
