"""How full the queues of the broker are."""

import asyncio
from collections.abc import Mapping, Sequence

from aio_pika.abc import AbstractChannel

from stella_contracts.errors import BusUnavailable
from stella_runtime.messaging.bus import Depth
from stella_runtime.messaging.connection import ANSWER_SECONDS, Link, broker_errors, keep_channel


class Depths:
    """
    Asks the broker, on a channel of its own: it closes that one when a queue is missing.

    The channel is opened by the first question and kept, since a scheduler asks at every tick.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._asked = asyncio.Event()
        self._opened = asyncio.Event()
        self._channel: AbstractChannel | None = None

    async def keep(self) -> None:
        """Keep the channel open, once it was asked for, until cancelled."""
        await self._asked.wait()
        await keep_channel(self._link, self._use, purpose="measure")

    async def measure(self, queues: Sequence[str]) -> Mapping[str, Depth]:
        """How full these queues are now. Raises BusUnavailable."""
        self._asked.set()
        found: dict[str, Depth] = {}
        with broker_errors():
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._opened.wait()
                for queue in queues:
                    if self._channel is None:
                        raise BusUnavailable("The channel for measuring was lost.")
                    declared = await self._channel.declare_queue(queue, passive=True)
                    told = declared.declaration_result
                    found[queue] = Depth(told.message_count or 0, told.consumer_count or 0)
        return found

    async def _use(self, channel: AbstractChannel, lost: asyncio.Event) -> None:
        self._channel = channel
        self._opened.set()
        try:
            await lost.wait()
        finally:
            self._channel = None
            self._opened.clear()
