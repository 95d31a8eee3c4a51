"""What a subscriber of this process has not read yet: bounded, the oldest make room."""

import asyncio
from collections import deque
from collections.abc import Sequence

import structlog

from stella_runtime.messaging.bus import Delivery
from stella_runtime.messaging.topology import matches

log = structlog.get_logger()

CAPACITY = 1_000


class Subscription:
    """An asynchronous iterator over deliveries, for one reader."""

    def __init__(self, exchange: str, patterns: Sequence[str], *, capacity: int = CAPACITY) -> None:
        self.exchange = exchange
        self.patterns = tuple(patterns)
        self._unread: deque[Delivery] = deque(maxlen=capacity)
        self._arrived = asyncio.Event()
        self._dropping = False

    def takes(self, exchange: str, routing_key: str) -> bool:
        return exchange == self.exchange and any(
            matches(pattern, routing_key) for pattern in self.patterns
        )

    def put(self, delivery: Delivery) -> None:
        full = len(self._unread) == self._unread.maxlen
        if full and not self._dropping:
            log.warning("subscription_overflowed", exchange=self.exchange, patterns=self.patterns)
        self._dropping = full
        self._unread.append(delivery)
        self._arrived.set()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Delivery:
        while not self._unread:
            self._arrived.clear()
            await self._arrived.wait()
        return self._unread.popleft()
