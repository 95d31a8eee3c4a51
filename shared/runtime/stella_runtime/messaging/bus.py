"""The port: what every bus promises, whichever adapter stands behind it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """What is published. Who receives a repetition recognises it by `id`."""

    id: str
    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is received."""

    id: str
    routing_key: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    """The how-manieth try this is, counting those that ended with `Unavailable`."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How full a queue is."""

    messages: int
    """That wait; not those that a handler has."""
    consumers: int


Handler = Callable[[Delivery], Awaitable[None]]
"""
Returning settles a delivery; the kind of error decides the rest (see `settlement`).

Delivery is at least once, so a handler must leave the same rows when it runs twice.
"""


class Bus(Protocol):
    """Topics and work queues of `topology`, from an adapter that has declared them."""

    async def publish(self, message: Message) -> None:
        """
        Return when the bus has taken responsibility for the message, which takes 5 s at most.

        Raises BusUnavailable when it has not, or may not have: publishing again is right.
        Raises MessageRefused when trying again cannot help.
        """

    def consume(
        self, queue: str, handler: Handler, *, prefetch: int
    ) -> AbstractAsyncContextManager[None]:
        """
        Handle deliveries while inside, at most `prefetch` at a time.

        Leaving takes no more of them, waits for the handlers that run (up to the bus's drain
        time), cancels those that are left, and hands their deliveries back. Lost connections
        are made again; what was being handled meanwhile comes a second time.
        """

    def subscribe(
        self, exchange: str, patterns: Sequence[str]
    ) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """
        Listen to what is published while inside, with topic patterns (`*` a word, `#` any number).

        For this process alone, and best effort: the oldest are dropped when the reader lags
        behind, and what is published while the bus is away is missed.
        """

    async def measure(self, queues: Sequence[str] | None = None) -> Mapping[str, Depth]:
        """How full these queues are now, or all that there are. Raises BusUnavailable."""

    async def check(self) -> None:
        """Raise BusUnavailable, with a sentence that says why, unless the bus is ready."""
