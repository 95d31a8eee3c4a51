"""The database is there, and has no room for everyone at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psycopg
import pytest
from psycopg import sql
from tests.integration.faults.served import (
    Callers,
    assert_nothing_is_half_written,
    calling,
    eventually,
    rows,
    served,
)
from tests.support.api import ANY_VERSION, Authority, registered


async def test_callers_of_a_full_pool_are_told_to_retry_and_all_is_done_when_it_is_free(
    database_url: str, authority: Authority
) -> None:
    async with served(database_url, authority, pool_size=2) as system:
        callers = Callers(system.hub.client())
        with psycopg.connect(database_url) as blocker:
            # Whoever writes waits with a connection in hand, the others for a connection.
            blocker.execute("lock table integrations in share mode")
            async with calling(callers, writers=8):
                await callers.meet(503)
                # Reads of the catalog have connections of their own.
                served_before = callers.reads[200]
                await eventually(lambda: callers.reads[200] > served_before)
                blocker.rollback()
                await callers.reach(20)
        await system.announces(set(callers.acknowledged.values()))

    assert callers.reads.keys() == {200}
    assert_nothing_is_half_written(database_url, callers.acknowledged)


WAITING = """
select 1 from pg_stat_activity
where application_name = 'tests' and datname = current_database() and wait_event_type = 'Lock'
"""


async def waits_for_a_lock(url: str) -> None:
    await eventually(lambda: bool(rows(url, WAITING)))


@asynccontextmanager
async def change_under_way(
    api: httpx.AsyncClient, integration: dict[str, str]
) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    change = {"description": "changed"}
    request = asyncio.create_task(
        api.put(f"/integrations/{integration['id']}", json=change, headers=ANY_VERSION)
    )
    try:
        yield request
    finally:
        request.cancel()


async def test_a_change_that_meets_a_deadlock_is_made_all_the_same(
    database_url: str, authority: Authority
) -> None:
    async with served(database_url, authority) as system:
        api = system.hub.client()
        integration = await registered(api)
        with psycopg.connect(database_url) as other:
            other.execute(
                "select 1 from integrations where id = %s for update", [integration["id"]]
            )
            async with change_under_way(api, integration) as request:
                await waits_for_a_lock(database_url)
                # The other way round than everyone of ours. Who waits longest gives in.
                other.execute(
                    "select 1 from schedule_state where integration_id = %s for update",
                    [integration["id"]],
                )
                other.commit()
                answer = await request

    assert answer.status_code == 200, answer.text
    assert answer.json()["version"] == 2


async def test_a_change_that_cannot_be_serialized_is_made_after_the_other_one(
    database_url: str, authority: Authority
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        strict = "alter database {name} set default_transaction_isolation = 'repeatable read'"
        connection.execute(sql.SQL(strict).format(name=sql.Identifier(connection.info.dbname)))
    async with served(database_url, authority) as system:
        api = system.hub.client()
        integration = await registered(api)
        with psycopg.connect(database_url) as other:
            other.execute(
                "update schedule_state set checks_done = 1 where integration_id = %s",
                [integration["id"]],
            )
            async with change_under_way(api, integration) as request:
                await waits_for_a_lock(database_url)
                other.commit()
                answer = await request

    assert answer.status_code == 200, answer.text


async def test_callers_who_always_meet_a_deadlock_are_told_to_retry(
    database_url: str, authority: Authority
) -> None:
    async with served(database_url, authority) as system:
        api = system.hub.client()
        integration = await registered(api)
        raise_in_every_change(database_url, "40P01")

        answer = await api.put(
            f"/integrations/{integration['id']}",
            json={"description": "changed"},
            headers=ANY_VERSION,
        )

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json()["type"] == "urn:stella:problem:transaction_rolled_back"


def raise_in_every_change(url: str, state: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            sql.SQL(
                "create function refuse() returns trigger language plpgsql as"
                " $$ begin raise exception 'refused' using errcode = {state}; end $$"
            ).format(state=sql.Literal(state))
        )
        connection.execute(
            "create trigger refuse before update on integrations execute function refuse()"
        )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("alter table integrations add column shade text", id="column"),
        pytest.param("create table shades (id uuid primary key)", id="table"),
        pytest.param(
            "alter table schedule_state alter column told_status type varchar",
            id="type of a column",
        ),
    ],
)
async def test_callers_do_not_notice_that_the_schema_grows(
    database_url: str, authority: Authority, change: str
) -> None:
    async with served(database_url, authority) as system:
        callers = Callers(system.hub.client())
        async with calling(callers, writers=3):
            await callers.reach(10)
            await asyncio.to_thread(alter, database_url, change)
            await callers.reach(10)

    assert callers.statuses.keys() == {201}
    assert callers.reads.keys() == {200}


def alter(url: str, change: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(change)
