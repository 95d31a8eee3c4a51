"""Outbox to bus, with both of them scripted."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from stella_contracts.errors import BusUnavailable, DatabaseUnavailable, StellaError
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.in_process import InProcessBus
from stella_runtime.messaging.relay import IN_FLIGHT, OutboxMessage, Relay
from stella_runtime.messaging.topology import EVENTS, MessageRefused


@dataclass(slots=True)
class FakeOutbox:
    """Keeps what it was given; failures are scripted by the name of the step."""

    waiting: list[OutboxMessage] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    claims: int = 0
    calls: int = 0
    failures: list[str] = field(default_factory=list)
    """Names of steps that fail, each once."""

    def add(self, *keys: str) -> None:
        for key in keys:
            sequence = len(self.waiting) + len(self.published) + len(self.released) + 1
            message = Message(f"m{sequence}", EVENTS, f"e.{key}", b"{}")
            self.waiting.append(OutboxMessage(sequence, key, message))

    async def claim(self, limit: int) -> Sequence[OutboxMessage]:
        self._step("claim")
        self.claims += 1
        claimed, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return claimed

    async def mark_published(self, sequences: Sequence[int]) -> None:
        self._step("mark_published")
        self.published.extend(sequences)

    async def release(self, sequences: Sequence[int]) -> None:
        self._step("release")
        self.released.extend(sequences)

    async def call_others(self) -> None:
        self._step("call_others")
        self.calls += 1

    def _step(self, name: str) -> None:
        if name in self.failures:
            self.failures.remove(name)
            raise DatabaseUnavailable


class FakeBus(InProcessBus):
    """Takes everything, but for what it was told to refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[str] = []
        self.refused: dict[str, StellaError] = {}
        self.down: BusUnavailable | None = None
        self.hold = asyncio.Event()
        self.hold.set()
        self.at_once = 0
        self.most_at_once = 0

    async def check(self) -> None:
        if self.down is not None:
            raise self.down

    async def publish(self, message: Message) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.hold.wait()
            if message.id in self.refused:
                raise self.refused[message.id]
            self.taken.append(message.id)
        finally:
            self.at_once -= 1


@pytest.fixture
def outbox() -> FakeOutbox:
    return FakeOutbox()


@pytest.fixture
async def bus() -> FakeBus:
    return FakeBus()


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(relay.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - conditions of any kind, polled
            await asyncio.sleep(0.005)


async def test_what_is_committed_is_published_and_marked(outbox: FakeOutbox, bus: FakeBus) -> None:
    outbox.add("a", "b", "a")

    async with running(Relay(outbox, bus, poll_seconds=0.01)):
        await eventually(lambda: len(outbox.published) == 3)

    assert sorted(bus.taken) == ["m1", "m2", "m3"]
    assert outbox.released == []


async def test_a_call_publishes_without_waiting_for_the_poll(
    outbox: FakeOutbox, bus: FakeBus
) -> None:
    relay = Relay(outbox, bus, poll_seconds=3600)

    async with running(relay):
        await eventually(lambda: outbox.claims == 1)
        outbox.add("a")
        relay.called()
        await eventually(lambda: outbox.published == [1])

    assert outbox.calls == 0


async def test_what_is_committed_while_the_bus_is_away_is_passed_on_to_other_relays(
    outbox: FakeOutbox, bus: FakeBus
) -> None:
    relay = Relay(outbox, bus, poll_seconds=3600)

    async with running(relay):
        await eventually(lambda: outbox.claims == 1)
        bus.down = BusUnavailable("The broker is away.")
        # What finds out that the bus is away is passed on, too.
        relay.wake()
        await eventually(lambda: outbox.calls >= 1)
        outbox.failures = ["call_others"]
        calls = outbox.calls
        async with asyncio.timeout(20):
            while outbox.calls < calls + 2:
                relay.wake()
                await asyncio.sleep(0.01)

    assert outbox.claims == 1


async def test_a_relay_that_cannot_publish_does_not_answer_a_call(
    outbox: FakeOutbox, bus: FakeBus
) -> None:
    """Else two of them would call each other for ever."""
    bus.down = BusUnavailable("The broker is away.")
    relay = Relay(outbox, bus, poll_seconds=3600)

    async with running(relay):
        await eventually(lambda: outbox.calls == 1)
        for _ in range(100):
            relay.called()
            await asyncio.sleep(0)

    assert outbox.calls <= 2


async def test_waking_publishes_without_waiting_for_the_poll(
    outbox: FakeOutbox, bus: FakeBus
) -> None:
    relay = Relay(outbox, bus, poll_seconds=3600)

    async with running(relay):
        await eventually(lambda: outbox.claims == 1)
        outbox.add("a")
        relay.wake()
        await eventually(lambda: outbox.published == [1])


async def test_order_is_kept_within_a_key(outbox: FakeOutbox, bus: FakeBus) -> None:
    outbox.add(*["a", "b"] * 50)

    async with running(Relay(outbox, bus, poll_seconds=0.01)):
        await eventually(lambda: len(outbox.published) == 100)

    numbers = [int(taken[1:]) for taken in bus.taken]
    assert [number for number in numbers if number % 2] == list(range(1, 101, 2))
    assert [number for number in numbers if not number % 2] == list(range(2, 101, 2))


async def test_many_keys_are_published_at_once_but_not_too_many(
    outbox: FakeOutbox, bus: FakeBus
) -> None:
    outbox.add(*[f"key-{number}" for number in range(150)])
    bus.hold.clear()

    async with running(Relay(outbox, bus, poll_seconds=0.01)):
        await eventually(lambda: bus.at_once == IN_FLIGHT)
        bus.hold.set()
        await eventually(lambda: len(outbox.published) == 150)

    assert bus.most_at_once == IN_FLIGHT


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(BusUnavailable("not now"), id="not now"),
        pytest.param(MessageRefused("never"), id="never"),
    ],
)
async def test_nothing_of_a_key_overtakes_what_failed(
    outbox: FakeOutbox, bus: FakeBus, error: StellaError
) -> None:
    outbox.add("a", "b", "a", "a", "b")
    bus.refused["m3"] = error

    async with running(Relay(outbox, bus, poll_seconds=0.01)):
        await eventually(lambda: bool(outbox.released))

    assert sorted(outbox.published) == [1, 2, 5]
    assert outbox.released == [3, 4]
    assert "m4" not in bus.taken


async def test_nothing_is_claimed_while_the_bus_is_down(outbox: FakeOutbox, bus: FakeBus) -> None:
    """A claim counts as a try, and tries make the next one wait longer."""
    outbox.add("a")
    bus.down = BusUnavailable("broker away")

    with capture_logs() as logs:
        async with running(Relay(outbox, bus, poll_seconds=0.01)):
            await eventually(lambda: bool(logs))
            assert outbox.claims == 0
            bus.down = None
            await eventually(lambda: outbox.published == [1])

    assert [entry["event"] for entry in logs] == ["outbox_relay_failed", "outbox_relay_recovered"]


@pytest.mark.parametrize("step", ["claim", "mark_published", "release"])
async def test_an_outage_of_the_outbox_is_waited_out(
    outbox: FakeOutbox, bus: FakeBus, step: str
) -> None:
    outbox.add("a", "b")
    bus.refused["m2"] = BusUnavailable("not now")
    outbox.failures = [step, step]

    async with running(Relay(outbox, bus, poll_seconds=0.01)):
        await eventually(lambda: outbox.published == [1] and outbox.claims >= 2)


async def test_what_could_not_be_marked_is_not_published_again(
    outbox: FakeOutbox, bus: FakeBus
) -> None:
    outbox.add("a")
    outbox.failures = ["mark_published", "mark_published", "mark_published"]

    async with running(Relay(outbox, bus, poll_seconds=0.01)):
        await eventually(lambda: outbox.published == [1])

    assert bus.taken == ["m1"]


async def test_an_outage_is_logged_once(outbox: FakeOutbox, bus: FakeBus) -> None:
    outbox.failures = ["claim"] * 3

    with capture_logs() as logs:
        async with running(Relay(outbox, bus, poll_seconds=0.01)):
            await eventually(lambda: outbox.claims >= 1 and len(logs) >= 2)

    assert [entry["event"] for entry in logs] == ["outbox_relay_failed", "outbox_relay_recovered"]


async def test_cancelling_keeps_the_books(outbox: FakeOutbox, bus: FakeBus) -> None:
    outbox.add("a", "b", "b")
    bus.refused["m1"] = BusUnavailable("not now")

    async with running(Relay(outbox, bus, poll_seconds=3600)) as task:
        bus.hold.clear()
        await eventually(lambda: bus.at_once == 2)
        task.cancel()
        await asyncio.wait({task})

    assert task.cancelled()
    assert (outbox.published, sorted(outbox.released)) == ([], [1, 2, 3])


async def test_cancelling_ends_it_also_while_the_outbox_is_away(
    outbox: FakeOutbox, bus: FakeBus
) -> None:
    outbox.add("a")
    bus.hold.clear()

    async with running(Relay(outbox, bus, poll_seconds=3600)) as task:
        await eventually(lambda: bus.at_once == 1)
        outbox.failures = ["release"]
        task.cancel()
        await asyncio.wait({task})

    assert task.cancelled()


async def test_a_mistake_in_an_adapter_is_not_silent(outbox: FakeOutbox, bus: FakeBus) -> None:
    outbox.add("a")
    bus.refused["m1"] = ZeroDivisionError()  # type: ignore[assignment]

    async with running(Relay(outbox, bus, poll_seconds=0.01)) as task:
        await asyncio.wait({task}, timeout=20)

    assert isinstance(task.exception(), ExceptionGroup)
