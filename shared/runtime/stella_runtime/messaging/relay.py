"""Outbox to bus: publishes what was committed, at least once, in order within a key."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from stella_contracts.errors import BusUnavailable, DatabaseUnavailable, StellaError, Unavailable
from stella_runtime.messaging.backoff import Backoff
from stella_runtime.messaging.bus import Bus, Message

log = structlog.get_logger()

BATCH = 200
IN_FLIGHT = 100
"""Above this the broker does not get faster (measured)."""
PASS_SECONDS = 15.0
"""Publishing of one batch stops after this, well before the outbox leases it to someone else."""
OUTBOX_SECONDS = 10.0
"""One step of the outbox that takes longer has failed."""


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A committed message. `sequence` is its place; order is kept within an `ordering_key`."""

    sequence: int
    ordering_key: str
    message: Message


class Outbox(Protocol):
    """Where committed messages wait. Each call is a transaction; any may raise Unavailable."""

    async def claim(self, limit: int) -> Sequence[OutboxMessage]:
        """Lease rows, oldest first, and of one key none before those ahead of it."""

    async def mark_published(self, sequences: Sequence[int]) -> None: ...

    async def release(self, sequences: Sequence[int]) -> None:
        """They could not be published: they will be claimed again after a while."""

    async def call_others(self) -> None:
        """Tell the relays of other processes that something waits: a hint."""


@dataclass(slots=True)
class _Pass:
    """What became of one batch."""

    published: list[int] = field(default_factory=list)
    unavailable: Unavailable | None = None


class Relay:
    """Any number may run on one outbox, in any processes."""

    def __init__(self, outbox: Outbox, bus: Bus, *, poll_seconds: float = 1.0) -> None:
        self._outbox = outbox
        self._bus = bus
        self._poll_seconds = poll_seconds
        self._wake = asyncio.Event()
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)
        self._backoff = Backoff(first=0.2)
        # Published, but the outbox could not be told yet. No more is claimed until it was.
        self._unmarked: list[int] = []

    def wake(self) -> None:
        """Look at once: something was committed. To be called in the loop of `run`."""
        self._wake.set()

    def called(self) -> None:
        """Look at once, if this relay can publish: a process that cannot has asked for it."""
        if not self._backoff.tries:
            self._wake.set()

    async def run(self) -> None:
        """
        Publish until cancelled. Outages of outbox and bus are waited out.

        Cancelling finishes the bookkeeping of what is published, for 20 s at most.
        """
        while True:
            try:
                claimed = await self._run_once()
            except Unavailable as error:
                await self._wait_out(error)
                continue
            if self._backoff.tries:
                log.info("outbox_relay_recovered")
                self._backoff.succeeded()
            if claimed < BATCH:
                await self._rest()

    async def _run_once(self) -> int:
        # Asked first, so that an outage costs no row its early turn.
        await self._bus.check()
        await self._mark([])
        async with _outbox_deadline():
            batch = await self._outbox.claim(BATCH)
        if not batch:
            return 0
        done = _Pass()
        try:
            await self._publish(batch, done)
        except asyncio.CancelledError:
            # Without this, what was published would be published again.
            with suppress(Unavailable):
                await self._settle(batch, done.published)
            raise
        await self._settle(batch, done.published)
        if done.unavailable is not None:
            raise done.unavailable
        return len(batch)

    async def _publish(self, batch: Sequence[OutboxMessage], done: _Pass) -> None:
        stop_at = asyncio.get_running_loop().time() + PASS_SECONDS
        async with asyncio.TaskGroup() as group:
            for messages in _by_key(batch):
                group.create_task(self._publish_in_order(messages, done, stop_at))

    async def _publish_in_order(
        self, messages: Iterable[OutboxMessage], done: _Pass, stop_at: float
    ) -> None:
        """Stop at the first that fails: those behind it must not overtake it."""
        for outgoing in messages:
            async with self._in_flight:
                if asyncio.get_running_loop().time() > stop_at:
                    return
                try:
                    await self._bus.publish(outgoing.message)
                except Unavailable as error:
                    done.unavailable = error
                    return
                except StellaError as error:
                    # A mistake of ours. It stays in the outbox, where its age will tell.
                    log.exception(
                        "outbox_message_refused",
                        sequence=outgoing.sequence,
                        message_id=outgoing.message.id,
                        code=error.code,
                    )
                    return
            done.published.append(outgoing.sequence)

    async def _settle(self, batch: Sequence[OutboxMessage], published: Sequence[int]) -> None:
        gone = set(published)
        left = [outgoing.sequence for outgoing in batch if outgoing.sequence not in gone]
        await self._mark(published)
        if left:
            async with _outbox_deadline():
                await self._outbox.release(left)

    async def _mark(self, published: Sequence[int]) -> None:
        self._unmarked.extend(published)
        if self._unmarked:
            async with _outbox_deadline():
                await self._outbox.mark_published(self._unmarked)
            self._unmarked = []

    async def _wait_out(self, error: Unavailable) -> None:
        if not self._backoff.tries:
            log.warning("outbox_relay_failed", error=type(error).__name__, reason=str(error))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._backoff.next()):
                await self._pass_on(error)

    async def _pass_on(self, error: Unavailable) -> None:
        """What was committed here, and is meanwhile, others may be able to publish."""
        while True:
            self._wake.clear()
            if isinstance(error, BusUnavailable):
                with suppress(Unavailable):
                    await self._outbox.call_others()
            await self._wake.wait()

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._poll_seconds):
                await self._wake.wait()
        self._wake.clear()


@asynccontextmanager
async def _outbox_deadline() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(OUTBOX_SECONDS):
            yield
    except TimeoutError as error:
        raise DatabaseUnavailable from error


def _by_key(batch: Sequence[OutboxMessage]) -> Iterable[list[OutboxMessage]]:
    keys: dict[str, list[OutboxMessage]] = {}
    for outgoing in batch:
        keys.setdefault(outgoing.ordering_key, []).append(outgoing)
    return keys.values()
