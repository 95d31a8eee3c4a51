"""What the bus of a single process does beyond the promises of every bus."""

import asyncio
from dataclasses import replace

import pytest

from stella_contracts.errors import NameTaken
from stella_runtime.messaging.bus import Delivery, Message
from stella_runtime.messaging.in_process import InProcessBus
from stella_runtime.messaging.settlement import REASON_HEADER
from stella_runtime.messaging.topology import COMMANDS, DISCOVER, TOPOLOGY


async def test_dead_letters_can_be_read_and_the_oldest_make_room() -> None:
    small = replace(
        TOPOLOGY,
        queues=tuple(
            replace(queue, max_length=3) if queue.name.endswith(".dead") else queue
            for queue in TOPOLOGY.queues
        ),
    )
    done = asyncio.Event()

    async def handler(delivery: Delivery) -> None:
        if delivery.id == "last":
            done.set()
            return
        raise NameTaken(delivery.id)

    async with (
        InProcessBus(topology=small) as bus,
        bus.consume(DISCOVER, handler, prefetch=1),
    ):
        for message_id in ("1", "2", "3", "4", "last"):
            await bus.publish(Message(message_id, COMMANDS, DISCOVER, b"{}"))
        async with asyncio.timeout(10):
            await done.wait()

    dead = bus.dead_letters(DISCOVER)
    assert [delivery.id for delivery in dead] == ["2", "3", "4"]
    assert dead[0].headers[REASON_HEADER] == "NameTaken: An integration named '2' already exists."


@pytest.mark.parametrize("name", ["a.b", "stella.integrations"])
async def test_an_exchange_that_is_not_in_the_topology_cannot_be_listened_to(name: str) -> None:
    async with InProcessBus() as bus:
        with pytest.raises(Exception, match="no exchange"):
            await bus.subscribe(name, ["#"]).__aenter__()
