"""The bus of a single process: the same promises, kept in memory only as long as it runs."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from stella_contracts.errors import BusUnavailable
from stella_runtime.messaging.bus import Delivery, Depth, Handler, Message
from stella_runtime.messaging.handling import HandlerPool
from stella_runtime.messaging.settlement import (
    QUEUE_HEADER,
    REASON_HEADER,
    TRIED_HEADER,
    Fate,
    Settlement,
)
from stella_runtime.messaging.subscription import Subscription
from stella_runtime.messaging.topology import TOPOLOGY, Exchange, Queue, Topology, matches
from stella_runtime.telemetry import tracing

SYSTEM = "in_process"
"""What traces call this bus."""

GIVEN_UP = "delivery_limit"
"""As the broker says it."""


@dataclass(slots=True)
class _Entry:
    delivery: Delivery
    handed_back: int = 0


@dataclass(slots=True)
class _Waiting:
    """The messages of one queue."""

    rules: Queue
    entries: deque[_Entry] = field(default_factory=deque)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    consumers: int = 0

    @property
    def full(self) -> bool:
        return len(self.entries) >= self.rules.max_length

    def put(self, entry: _Entry, *, first: bool = False) -> None:
        if first:
            self.entries.appendleft(entry)
        else:
            if self.full and self.rules.when_full == "drop_oldest":
                self.entries.popleft()
            self.entries.append(entry)
        self.filled.set()

    async def take(self) -> _Entry:
        while not self.entries:
            self.filled.clear()
            await self.filled.wait()
        return self.entries.popleft()


class InProcessBus:
    """
    A bus for the services of one process, opened as a context.

    `retry_seconds` is how long a delivery waits for its next attempt, by default what the
    topology says. What waits when the process ends is gone: the outbox and the leases of the
    schedule bring it again.
    """

    def __init__(
        self,
        *,
        topology: Topology = TOPOLOGY,
        retry_seconds: float | None = None,
        drain_seconds: float = 10.0,
    ) -> None:
        self._topology = topology
        self._retry_seconds = retry_seconds
        self._drain_seconds = drain_seconds
        self._queues = {queue.name: _Waiting(queue) for queue in topology.queues}
        self._subscriptions: set[Subscription] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    async def publish(self, message: Message) -> None:
        await self.check()
        exchange = self._topology.destination(message)
        with tracing.sending(
            message.headers,
            messaging_system=SYSTEM,
            destination=exchange.name,
            routing_key=message.routing_key,
            message_id=message.id,
            operation="send",
        ) as headers:
            delivery = Delivery(message.id, message.routing_key, message.body, dict(headers))
            self._put(exchange, delivery)

    def _put(self, exchange: Exchange, delivery: Delivery) -> None:
        listening = [
            subscription
            for subscription in self._subscriptions
            if subscription.takes(exchange.name, delivery.routing_key)
        ]
        queues = self._bound(exchange.name, delivery.routing_key)
        if not queues and not listening and exchange.alternate is not None:
            queues = self._bound(exchange.alternate, delivery.routing_key)
        if not queues and not listening and exchange.must_arrive:
            raise BusUnavailable(f"No queue takes {delivery.routing_key!r} from {exchange.name}.")
        for queue in queues:
            if queue.full and queue.rules.when_full == "refuse":
                raise BusUnavailable(f"The queue {queue.rules.name} is full.")
        for queue in queues:
            queue.put(_Entry(delivery))
        for subscription in listening:
            subscription.put(delivery)

    @asynccontextmanager
    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> AsyncIterator[None]:
        waiting = self._queues.get(queue) or _Waiting(self._topology.queue(queue))
        pool = HandlerPool(queue, handler, at_once=prefetch, system=SYSTEM)
        taking = asyncio.create_task(self._take(waiting, pool), name=f"consume {queue}")
        waiting.consumers += 1
        try:
            yield
        finally:
            waiting.consumers -= 1
            taking.cancel()
            await asyncio.wait({taking})
            await pool.drain(self._drain_seconds)

    @asynccontextmanager
    async def subscribe(
        self, exchange: str, patterns: Sequence[str]
    ) -> AsyncIterator[AsyncIterator[Delivery]]:
        subscription = Subscription(self._topology.exchange(exchange).name, patterns)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    async def measure(self, queues: Sequence[str] | None = None) -> Mapping[str, Depth]:
        await self.check()
        return {
            name: Depth(len(queue.entries), queue.consumers)
            for name, queue in self._queues.items()
            if queues is None or name in queues
        }

    async def check(self) -> None:
        if not self._open:
            raise BusUnavailable("The bus of this process is not open.")

    def dead_letters(self, queue: str) -> Sequence[Delivery]:
        """What lies in `<queue>.dead`, oldest first; their headers hold the reason."""
        dead = self._topology.queue(queue).dead
        return [entry.delivery for entry in self._queues[dead].entries] if dead else []

    async def _take(self, waiting: _Waiting, pool: HandlerPool) -> None:
        while True:
            await pool.slot()
            try:
                entry = await waiting.take()
            except asyncio.CancelledError:
                pool.give_back_slot()
                raise

            async def carry_out(settlement: Settlement, entry: _Entry = entry) -> None:
                self._carry_out(settlement, waiting, entry)

            pool.start(entry.delivery, carry_out)

    def _carry_out(self, settlement: Settlement, waiting: _Waiting, entry: _Entry) -> None:
        rules = waiting.rules
        if settlement.fate is Fate.DONE:
            return
        name = rules.retry_after(entry.delivery.attempt)
        retry = self._queues[name].rules if name else None
        if settlement.fate is Fate.RETRY and retry and len(self._timers) < retry.max_length:
            again = replace(entry.delivery, attempt=entry.delivery.attempt + 1)
            self._later(retry, waiting, _Entry(again))
        elif settlement.fate is Fate.DEAD and rules.dead:
            self._bury(rules, rules.dead, entry, settlement.reason)
        else:
            entry.handed_back += 1
            limit = rules.delivery_limit
            if limit is not None and rules.then and entry.handed_back > limit:
                self._bury(rules, rules.then, entry, GIVEN_UP)
            else:
                waiting.put(entry, first=True)

    def _bury(self, rules: Queue, dead: str, entry: _Entry, reason: str) -> None:
        marks = {REASON_HEADER: reason, QUEUE_HEADER: rules.name}
        if reason != GIVEN_UP:
            marks[TRIED_HEADER] = str(entry.delivery.attempt)
        delivery = replace(
            entry.delivery, routing_key=dead, headers={**entry.delivery.headers, **marks}, attempt=1
        )
        # A memory that may not grow: here the oldest make room.
        grave = self._queues[dead]
        if grave.full:
            grave.entries.popleft()
        grave.put(_Entry(delivery))

    def _later(self, retry: Queue, waiting: _Waiting, entry: _Entry) -> None:
        seconds = self._retry_seconds
        if seconds is None:
            seconds = retry.hold.total_seconds() if retry.hold else 0.0

        def put() -> None:
            self._timers.discard(timer)
            waiting.put(entry)

        timer = asyncio.get_running_loop().call_later(seconds, put)
        self._timers.add(timer)

    def _bound(self, exchange: str, routing_key: str) -> list[_Waiting]:
        kind = self._topology.exchange(exchange).kind
        return [
            self._queues[binding.queue]
            for binding in self._topology.bindings
            if binding.exchange == exchange
            and (
                kind == "fanout"
                or (kind == "direct" and binding.routing_key == routing_key)
                or (kind == "topic" and matches(binding.routing_key, routing_key))
            )
        ]
