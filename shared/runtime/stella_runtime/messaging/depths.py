"""How full the queues of the broker are."""

import asyncio
from collections.abc import Mapping

from aio_pika.abc import AbstractConnection

from stella_runtime.messaging.bus import Depth
from stella_runtime.messaging.connection import ANSWER_SECONDS, broker_errors, open_channel
from stella_runtime.messaging.topology import Topology


async def measure(connection: AbstractConnection, topology: Topology) -> Mapping[str, Depth]:
    """
    Ask the broker for each queue of the topology. Raises BusUnavailable.

    On a channel of its own, since the broker closes it when a queue is missing.
    """
    found: dict[str, Depth] = {}
    async with open_channel(connection) as (channel, _):
        for queue in topology.queues:
            with broker_errors():
                async with asyncio.timeout(ANSWER_SECONDS):
                    declared = await channel.declare_queue(queue.name, passive=True)
            told = declared.declaration_result
            found[queue.name] = Depth(told.message_count or 0, told.consumer_count or 0)
    return found
