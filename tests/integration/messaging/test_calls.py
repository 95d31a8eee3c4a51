"""A process that cannot publish calls for one that can, and polling stands behind it."""

import asyncio
from uuid import UUID

import psycopg
from tests.integration.messaging.doubles import eventually
from tests.integration.messaging.relays import Process, in_order, process, versions
from tests.support.subscriber import Subscriber, subscribed
from tests.support.tcp_proxy import tcp_proxy

from stella_contracts.errors import BusUnavailable
from stella_runtime.ids import new_id
from stella_runtime.persistence.calls import APPLICATION

NEVER = 3600.0
"""A poll that no test waits for."""


def listeners(database_url: str) -> list[int]:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity where application_name = %s"
            " and datname = current_database() and query ilike 'listen%%'",
            [APPLICATION],
        ).fetchall()
    return [int(pid) for [pid] in rows]


def hang_up_on(database_url: str, pids: list[int]) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("select pg_terminate_backend(pid) from unnest(%s::int[]) pid", [pids])


async def until_received(received: Subscriber, integration: UUID, last: int) -> None:
    await eventually(lambda: versions(received) == in_order([integration], last), 30)


async def until_cut_off(parted: Process) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await parted.bus.check()
            except BusUnavailable:
                return
            await asyncio.sleep(0.02)


async def test_what_a_parted_process_commits_another_publishes_without_waiting_for_its_poll(
    database_url: str, amqp_url: str
) -> None:
    integration = new_id()

    async with (
        tcp_proxy(amqp_url) as network,
        process(database_url, amqp_url, poll_seconds=NEVER),
        process(database_url, network.url(amqp_url), poll_seconds=NEVER) as parted,
        subscribed(amqp_url) as received,
    ):
        await eventually(lambda: len(listeners(database_url)) == 2)
        await network.refuse()
        network.reset()
        await until_cut_off(parted)
        for version in range(1, 4):
            await parted.change(integration, version)
            await until_received(received, integration, version)


async def test_a_listener_that_was_hung_up_on_listens_again(
    database_url: str, amqp_url: str
) -> None:
    integration = new_id()

    async with (
        tcp_proxy(amqp_url) as network,
        process(database_url, amqp_url, poll_seconds=NEVER),
        process(database_url, network.url(amqp_url), poll_seconds=NEVER) as parted,
        subscribed(amqp_url) as received,
    ):
        await network.refuse()
        network.reset()
        await until_cut_off(parted)
        await eventually(lambda: len(listeners(database_url)) == 2)
        before = listeners(database_url)
        hang_up_on(database_url, before)
        # Nobody listens now. It is found when somebody does again, or at the next poll.
        await parted.change(integration, 1)
        await until_received(received, integration, 1)
        await eventually(lambda: len(set(listeners(database_url)) - set(before)) == 2)
        await parted.change(integration, 2)
        await until_received(received, integration, 2)


async def test_polling_finds_what_nobody_was_called_for(database_url: str, amqp_url: str) -> None:
    integration = new_id()

    async with process(database_url, amqp_url) as relaying, subscribed(amqp_url) as received:
        relaying.database.announce_commits_to(lambda: None)
        await relaying.change(integration, 1)
        await until_received(received, integration, 1)
