"""From commit to subscriber while the broker, or the way to it, is away: nothing is lost."""

import asyncio
from urllib.parse import urlsplit
from uuid import UUID

import psutil
import pytest
from tests.integration.messaging.doubles import eventually
from tests.integration.messaging.relays import Process, in_order, process, unpublished, versions
from tests.support.rabbitmq import Resource, Server
from tests.support.subscriber import subscribed
from tests.support.tcp_proxy import tcp_proxy

from stella_contracts.errors import BusUnavailable
from stella_runtime.ids import new_id

PATIENCE = 40


async def change_all(writer: Process, integrations: list[UUID], versions: range) -> None:
    for version in versions:
        await asyncio.gather(*(writer.change(each, version) for each in integrations))


async def until_all_marked(database_url: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while await unpublished(database_url):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.05)


def open_sockets(amqp_url: str) -> int:
    """Connections of this process to the broker."""
    port = urlsplit(amqp_url).port
    sockets = psutil.Process().net_connections("tcp")
    return len([each for each in sockets if getattr(each.raddr, "port", None) == port])


async def until_stalled(writer: Process) -> str:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await writer.bus.check()
            except BusUnavailable as error:
                return str(error)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("resource", ["disk", "memory"])
async def test_what_is_committed_during_a_resource_alarm_is_published_after_it(
    database_url: str,
    amqp_url: str,
    rabbitmq_server: Server,
    resource: Resource,
) -> None:
    integrations = [new_id() for _ in range(10)]

    async with process(database_url, amqp_url) as writer, subscribed(amqp_url) as received:
        await change_all(writer, integrations, range(1, 3))
        await eventually(lambda: len(received.events) == 20, PATIENCE)
        before = open_sockets(amqp_url)
        await asyncio.to_thread(rabbitmq_server.raise_alarm, resource)
        try:
            await change_all(writer, integrations, range(3, 31))
            problem = await until_stalled(writer)
            blocked = writer.metrics.registry.get_sample_value("integration_publisher_blocked")
            waiting = await unpublished(database_url)
            during = open_sockets(amqp_url)
        finally:
            await asyncio.to_thread(rabbitmq_server.clear_alarm, resource)
        await eventually(lambda: versions(received) == in_order(integrations, 30), PATIENCE)
        await writer.bus.check()

    assert (problem, blocked) == (
        "The broker takes no messages: the last one was not confirmed in time.",
        1.0,
    )
    assert waiting == 280
    assert during == before
    assert writer.metrics.registry.get_sample_value("integration_publisher_blocked") == 0.0


async def test_what_is_committed_while_the_broker_is_dead_is_published_after_it_in_order(
    database_url: str, amqp_url: str, rabbitmq_server: Server
) -> None:
    """The broker is killed in the middle of relaying; commits go on all the time."""
    integrations = [new_id() for _ in range(10)]

    async with process(database_url, amqp_url) as writer, subscribed(amqp_url) as received:
        await change_all(writer, integrations, range(1, 21))
        await asyncio.to_thread(rabbitmq_server.kill)
        try:
            await change_all(writer, integrations, range(21, 41))
            waiting = await unpublished(database_url)
        finally:
            await asyncio.to_thread(rabbitmq_server.start)
        await change_all(writer, integrations, range(41, 61))
        await eventually(lambda: versions(received) == in_order(integrations, 60), PATIENCE)
        await until_all_marked(database_url)

    assert waiting >= 200


async def test_two_relays_on_a_slow_network_keep_the_order_of_each_integration(
    database_url: str, amqp_url: str
) -> None:
    integrations = [new_id() for _ in range(8)]

    async with (
        tcp_proxy(amqp_url) as slow,
        process(database_url, slow.url(amqp_url)) as one,
        process(database_url, amqp_url) as other,
        subscribed(amqp_url) as received,
    ):
        slow.latency = 0.05
        # Each integration is changed by both in turn, as by two API processes behind a gateway.
        for version in range(1, 41):
            writer = one if version % 2 else other
            await asyncio.gather(*(writer.change(each, version) for each in integrations))
        await eventually(lambda: versions(received) == in_order(integrations, 40), PATIENCE)
        await until_all_marked(database_url)

    assert received.deliveries.total() == 320
