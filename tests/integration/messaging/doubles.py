"""What the tests of the bus watch it with."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import chain, repeat
from uuid import uuid4

from stella_runtime.messaging.bus import Delivery, Message
from stella_runtime.messaging.topology import COMMANDS, ON_DEMAND, TOPOLOGY, Topology

PATIENCE = 10.0
QUICK = replace(
    TOPOLOGY,
    queues=tuple(
        replace(queue, hold=timedelta(milliseconds=100)) if queue.hold else queue
        for queue in TOPOLOGY.queues
    ),
)
"""The topology, but for a retry that does not keep a test waiting."""


@dataclass(slots=True)
class Seen:
    """A handler that remembers, and ends as its script says: None returns, an error is raised."""

    script: Iterator[BaseException | None] = field(default_factory=lambda: repeat(None))
    deliveries: list[Delivery] = field(default_factory=list)

    async def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        error = next(self.script)
        if error is not None:
            raise error

    @property
    def ids(self) -> list[str]:
        return [delivery.id for delivery in self.deliveries]

    @property
    def attempts(self) -> list[int]:
        return [delivery.attempt for delivery in self.deliveries]

    async def until(self, count: int) -> None:
        await eventually(lambda: len(self.deliveries) >= count)


def ending_with(*ends: BaseException | None) -> Seen:
    """A handler that ends so at first, and returns after that."""
    return Seen(chain(ends, repeat(None)))


class Gate:
    """A handler that stays until it is let go."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.left: list[str] = []
        self.opened = asyncio.Event()

    async def __call__(self, delivery: Delivery) -> None:
        self.entered.append(delivery.id)
        await self.opened.wait()
        self.left.append(delivery.id)

    async def until_entered(self, count: int) -> None:
        await eventually(lambda: len(self.entered) >= count)


async def eventually(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Return when the condition holds; fail when it never does."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of any kind, polled
            await asyncio.sleep(0.01)


def a_command(
    message_id: str | None = None, *, queue: str = ON_DEMAND, body: bytes = b"{}"
) -> Message:
    return Message(message_id or str(uuid4()), COMMANDS, queue, body)


def with_max_length(topology: Topology, queue: str, length: int) -> Topology:
    return replace(
        topology,
        queues=tuple(
            replace(rules, max_length=length) if rules.name == queue else rules
            for rules in topology.queues
        ),
    )
