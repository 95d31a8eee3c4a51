"""Waiting for an outcome that another process commits: `Prefer: wait=N` (RFC 7240)."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import structlog
from pydantic import ValidationError

from stella_contracts.messages import Finished
from stella_runtime.messaging.bus import Bus, Delivery
from stella_runtime.messaging.topology import REPLIES
from stella_runtime.telemetry import tracing

log = structlog.get_logger()

LONGEST_WAIT_SECONDS = 30
LOOK_SECONDS = 1.0
WAITING_LIMIT = 10_000

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?(?:$|[,;\s])", re.IGNORECASE)

FoundT = TypeVar("FoundT")


def seconds_of(prefer: str | None) -> int:
    """How long a caller wants to wait: 0 if it does not say, 30 s at most."""
    found = _WAIT.search(prefer or "")
    return min(int(found.group(1)), LONGEST_WAIT_SECONDS) if found else 0


class Reply:
    """What one caller waits for."""

    def __init__(self, arrived: asyncio.Future[dict[str, Any] | None]) -> None:
        self._arrived = arrived

    async def outcome(self, seconds: float) -> dict[str, Any] | None:
        """What the reply brings, or None if none comes in time."""
        await asyncio.wait([self._arrived], timeout=seconds)
        return self._arrived.result() if self._arrived.done() else None

    async def look_for(
        self, seconds: float, look: Callable[[], Awaitable[FoundT | None]]
    ) -> FoundT | None:
        """
        What `look` finds once the reply has come, or None if it finds nothing in time.

        A reply is a hint and may be lost: it looks each second without one.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            pause = min(max(deadline - loop.time(), 0.0), LOOK_SECONDS)
            if self._arrived.done():
                await asyncio.sleep(pause)
            else:
                await asyncio.wait([self._arrived], timeout=pause)
            found = await look()
            if found is not None or loop.time() >= deadline:
                return found


class Waiting:
    """Who waits for which check or scan in this process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._replies: dict[UUID, list[asyncio.Future[dict[str, Any] | None]]] = {}
        self._count = 0

    async def run(self) -> None:
        """Listen for replies until cancelled."""
        async with self._bus.subscribe(REPLIES, ["#"]) as deliveries:
            async for delivery in deliveries:
                with tracing.receiving(
                    delivery.headers,
                    destination=REPLIES,
                    message_id=delivery.id,
                    operation="process",
                ):
                    self._take(delivery)

    def _take(self, delivery: Delivery) -> None:
        try:
            finished = Finished.model_validate_json(delivery.body)
        except ValidationError:
            log.warning("reply_not_understood", message_id=delivery.id)
            return
        for future in self._replies.get(finished.id, ()):
            if not future.done():
                future.set_result(finished.outcome)

    @contextmanager
    def expected(self, identifier: UUID) -> Iterator[Reply]:
        """
        Listen for an id until the block ends.

        To be entered before the command is committed: the reply may be fast. Beyond
        WAITING_LIMIT callers nobody is told of replies, and `look_for` looks by itself.
        """
        future: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        if self._count >= WAITING_LIMIT:
            yield Reply(future)
            return
        self._replies.setdefault(identifier, []).append(future)
        self._count += 1
        try:
            yield Reply(future)
        finally:
            self._count -= 1
            self._replies[identifier].remove(future)
            if not self._replies[identifier]:
                del self._replies[identifier]
