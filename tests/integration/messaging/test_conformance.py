"""What every adapter of the bus promises."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from pydantic import BaseModel
from tests.integration.messaging.conftest import OpenBus
from tests.integration.messaging.doubles import (
    QUICK,
    Gate,
    Seen,
    a_command,
    ending_with,
    eventually,
    with_max_length,
)

from stella_contracts.errors import BusUnavailable, NameTaken, SecretUnavailable
from stella_runtime.messaging.bus import Bus, Delivery, Depth, Handler, Message
from stella_runtime.messaging.settlement import (
    MAX_ATTEMPTS,
    QUEUE_HEADER,
    REASON_HEADER,
    TRIED_HEADER,
)
from stella_runtime.messaging.topology import (
    COMMANDS,
    EVENTS,
    ON_DEMAND,
    REPLIES,
    SCHEDULE,
    UNROUTED,
    MessageRefused,
)

DEAD = f"{ON_DEMAND}.dead"


async def drained(bus: Bus, queue: str, count: int) -> list[Delivery]:
    """Take this many deliveries out of a queue."""
    seen = Seen()
    async with bus.consume(queue, seen, prefetch=10):
        await seen.until(count)
    return seen.deliveries


async def test_a_command_arrives_as_it_was_sent(bus: Bus) -> None:
    seen = Seen()
    message = Message("m-1", COMMANDS, ON_DEMAND, b'{"a": "\xc3\xa4"}', {"traceparent": "00-1"})

    async with bus.consume(ON_DEMAND, seen, prefetch=1):
        await bus.publish(message)
        await seen.until(1)

    assert seen.deliveries == [
        Delivery("m-1", ON_DEMAND, b'{"a": "\xc3\xa4"}', {"traceparent": "00-1"}, attempt=1)
    ]


async def test_a_command_waits_until_someone_consumes(bus: Bus) -> None:
    await bus.publish(a_command("early"))

    assert [delivery.id for delivery in await drained(bus, ON_DEMAND, 1)] == ["early"]


async def test_what_was_handled_does_not_come_again(bus: Bus) -> None:
    await bus.publish(a_command("handled"))
    await drained(bus, ON_DEMAND, 1)

    await bus.publish(a_command("next"))

    assert [delivery.id for delivery in await drained(bus, ON_DEMAND, 1)] == ["next"]


async def test_queues_do_not_share_their_messages(bus: Bus) -> None:
    scheduled, requested = Seen(), Seen()

    async with (
        bus.consume(SCHEDULE, scheduled, prefetch=10),
        bus.consume(ON_DEMAND, requested, prefetch=10),
    ):
        await bus.publish(a_command("s", queue=SCHEDULE))
        await bus.publish(a_command("r", queue=ON_DEMAND))
        await scheduled.until(1)
        await requested.until(1)

    assert (scheduled.ids, requested.ids) == (["s"], ["r"])


async def test_two_consumers_share_a_queue(bus: Bus) -> None:
    one, other = Gate(), Gate()

    async with (
        bus.consume(ON_DEMAND, one, prefetch=1),
        bus.consume(ON_DEMAND, other, prefetch=1),
    ):
        await bus.publish(a_command("1"))
        await bus.publish(a_command("2"))
        await one.until_entered(1)
        await other.until_entered(1)
        one.opened.set()
        other.opened.set()

    assert sorted(one.entered + other.entered) == ["1", "2"]


async def test_unavailable_is_tried_again_until_it_works(bus: Bus) -> None:
    seen = ending_with(SecretUnavailable("vault away"), SecretUnavailable("vault away"))

    async with bus.consume(ON_DEMAND, seen, prefetch=1):
        await bus.publish(a_command("patient"))
        await seen.until(3)

    assert (seen.ids, seen.attempts) == (["patient"] * 3, [1, 2, 3])


async def test_unavailable_for_too_long_is_dead(bus: Bus) -> None:
    seen = ending_with(*[SecretUnavailable("vault away")] * MAX_ATTEMPTS)

    async with bus.consume(ON_DEMAND, seen, prefetch=1):
        await bus.publish(a_command("hopeless"))
        (dead,) = await drained(bus, DEAD, 1)

    assert seen.attempts == [1, 2, 3, 4, 5, 6]
    assert dead.headers[REASON_HEADER] == (
        "gave up after 6 attempts: SecretUnavailable: vault away"
    )


async def test_neighbours_go_on_while_one_is_tried_again_and_again(bus: Bus) -> None:
    handled: list[str] = []

    async def handler(delivery: Delivery) -> None:
        if delivery.id == "hopeless":
            raise SecretUnavailable("vault away")
        handled.append(delivery.id)

    await bus.publish(a_command("hopeless"))
    for number in range(20):
        await bus.publish(a_command(str(number)))
    async with bus.consume(ON_DEMAND, handler, prefetch=1):
        (dead,) = await drained(bus, DEAD, 1)
        await eventually(lambda: len(handled) == 20)

    assert handled == [str(number) for number in range(20)]
    assert (dead.id, dead.headers[TRIED_HEADER]) == ("hopeless", "6")


async def test_poison_is_dead_with_its_reason_and_neighbours_go_on(bus: Bus) -> None:
    handled: list[str] = []

    async def handler(delivery: Delivery) -> None:
        if delivery.id == "poison":
            raise NameTaken("registry")
        handled.append(delivery.id)

    await bus.publish(a_command("before"))
    await bus.publish(a_command("poison", body=b"\x00not json"))
    await bus.publish(a_command("after"))
    async with bus.consume(ON_DEMAND, handler, prefetch=1):
        (dead,) = await drained(bus, DEAD, 1)
        await eventually(lambda: len(handled) == 2)

    assert handled == ["before", "after"]
    assert (dead.id, dead.body) == ("poison", b"\x00not json")
    assert dead.headers == {
        REASON_HEADER: "NameTaken: An integration named 'registry' already exists.",
        QUEUE_HEADER: ON_DEMAND,
        TRIED_HEADER: "1",
    }


class Parsed(BaseModel):
    token: int


async def parse(delivery: Delivery) -> None:
    Parsed.model_validate_json(delivery.body)


async def quote(delivery: Delivery) -> None:
    raise KeyError(delivery.body.decode())


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        pytest.param(parse, "ValidationError: token int_parsing", id="a validation error"),
        pytest.param(quote, "KeyError: in quote", id="a foreign error"),
    ],
)
async def test_the_reason_does_not_quote_the_body(bus: Bus, handler: Handler, reason: str) -> None:
    async with bus.consume(ON_DEMAND, handler, prefetch=1):
        await bus.publish(a_command(body=b'{"token": "hunter2"}'))
        (dead,) = await drained(bus, DEAD, 1)

    assert dead.headers[REASON_HEADER].startswith(reason)
    assert "hunter2" not in dead.headers[REASON_HEADER]


async def test_a_cancelled_handler_gets_its_delivery_again(bus: Bus) -> None:
    seen = ending_with(asyncio.CancelledError())

    async with bus.consume(ON_DEMAND, seen, prefetch=1):
        await bus.publish(a_command("again"))
        await seen.until(2)

    assert (seen.ids, seen.attempts) == (["again", "again"], [1, 1])


async def test_a_delivery_that_is_handed_back_for_ever_is_dead(bus: Bus) -> None:
    seen = ending_with(*[asyncio.CancelledError()] * 50)

    async with bus.consume(ON_DEMAND, seen, prefetch=1):
        await bus.publish(a_command("killer"))
        (dead,) = await drained(bus, DEAD, 1)

    assert len(seen.deliveries) == 21
    assert (dead.id, dead.headers[REASON_HEADER]) == ("killer", "delivery_limit")
    assert dead.headers[QUEUE_HEADER] == ON_DEMAND


async def test_leaving_waits_for_the_handler_that_runs(bus: Bus) -> None:
    gate, later = Gate(), Seen()

    async with asyncio.TaskGroup() as group, bus.consume(ON_DEMAND, gate, prefetch=1):
        await bus.publish(a_command("running"))
        await bus.publish(a_command("waiting"))
        await gate.until_entered(1)
        group.create_task(set_soon(gate.opened))
    async with bus.consume(ON_DEMAND, later, prefetch=1):
        await later.until(1)

    assert (gate.left, later.ids) == (["running"], ["waiting"])


async def set_soon(event: asyncio.Event) -> None:
    # Runs once the context is being left, since it does not wait before that.
    event.set()


async def test_leaving_hands_back_what_does_not_end_in_time(open_bus: OpenBus) -> None:
    gate, later = Gate(), Seen()

    async with open_bus(drain_seconds=0.1) as bus:
        async with bus.consume(ON_DEMAND, gate, prefetch=2):
            await bus.publish(a_command("1"))
            await bus.publish(a_command("2"))
            await gate.until_entered(2)
        async with bus.consume(ON_DEMAND, later, prefetch=2):
            await later.until(2)

    assert (gate.left, sorted(later.ids)) == ([], ["1", "2"])


async def test_an_error_in_the_body_comes_out_as_it_is(bus: Bus) -> None:
    with pytest.raises(NameTaken):
        async with bus.consume(ON_DEMAND, Seen(), prefetch=1):
            raise NameTaken("registry")


async def test_prefetch_bounds_how_many_run_at_once(bus: Bus) -> None:
    gate = Gate()
    for number in range(8):
        await bus.publish(a_command(str(number)))

    async with bus.consume(ON_DEMAND, gate, prefetch=3):
        await gate.until_entered(3)
        # One that is handled elsewhere meanwhile: time enough for a fourth to slip in.
        await bus.publish(a_command(queue=SCHEDULE))
        await drained(bus, SCHEDULE, 1)
        entered = len(gate.entered)
        gate.opened.set()
        await eventually(lambda: len(gate.left) == 8)

    assert entered == 3


async def test_concurrent_publishers_lose_nothing(bus: Bus) -> None:
    seen = Seen()

    async with bus.consume(ON_DEMAND, seen, prefetch=50):
        await asyncio.gather(*(bus.publish(a_command(str(number))) for number in range(400)))
        await seen.until(400)

    assert sorted(seen.ids, key=int) == [str(number) for number in range(400)]


async def test_one_id_published_twice_at_once_is_delivered_twice(bus: Bus) -> None:
    seen = Seen()

    async with bus.consume(ON_DEMAND, seen, prefetch=10):
        await asyncio.gather(*(bus.publish(a_command("same")) for _ in range(10)))
        await seen.until(10)

    assert seen.ids == ["same"] * 10


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        pytest.param(["integration.created.harbor.acme"], ["created"], id="exact"),
        pytest.param(["integration.*.harbor.acme"], ["created"], id="one word"),
        pytest.param(["integration.#.acme"], ["created", "alert"], id="any words"),
        pytest.param(["#.acme"], ["created", "alert"], id="any words first"),
        pytest.param(["integration.#"], ["created", "alert", "other", "short"], id="none, too"),
        pytest.param(["#"], ["created", "alert", "other", "short", "plugin"], id="all"),
        pytest.param(["*"], ["short"], id="a single word"),
        pytest.param(["integration.alert.*.harbor.acme", "plugin.#"], ["alert", "plugin"], id="or"),
        pytest.param(
            ["plugin.#", "#.harbor.*"], ["created", "alert", "other", "plugin"], id="once"
        ),
    ],
)
async def test_a_subscription_takes_what_its_patterns_match(
    bus: Bus, patterns: Sequence[str], taken: list[str]
) -> None:
    keys = {
        "created": "integration.created.harbor.acme",
        "alert": "integration.alert.opened.harbor.acme",
        "other": "integration.created.harbor.other",
        "short": "integration",
        "plugin": "plugin.removed.harbor._system",
    }

    async with bus.subscribe(EVENTS, [*patterns, "the.end"]) as deliveries:
        for message_id, key in keys.items():
            await bus.publish(Message(message_id, EVENTS, key, b"{}"))
        await bus.publish(Message("end", EVENTS, "the.end", b"{}"))
        received = await until_end(deliveries)

    assert received == taken


async def until_end(deliveries: AsyncIterator[Delivery]) -> list[str]:
    received: list[str] = []
    async with asyncio.timeout(20):
        async for delivery in deliveries:
            if delivery.id == "end":
                break
            received.append(delivery.id)
    return received


async def test_every_subscription_gets_its_own_copy(bus: Bus) -> None:
    async with (
        bus.subscribe(EVENTS, ["#"]) as one,
        bus.subscribe(EVENTS, ["plugin.#"]) as other,
    ):
        await bus.publish(Message("p", EVENTS, "plugin.removed.harbor._system", b"{}"))
        async with asyncio.timeout(20):
            received = [(await anext(one)).id, (await anext(other)).id]

    assert received == ["p", "p"]


async def test_an_event_that_nobody_takes_is_parked(bus: Bus) -> None:
    await bus.publish(Message("lonely", EVENTS, "integration.created.harbor.acme", b"{}"))

    (parked,) = await drained(bus, UNROUTED, 1)
    assert (parked.id, parked.routing_key) == ("lonely", "integration.created.harbor.acme")


async def test_an_event_that_someone_takes_is_not_parked(bus: Bus) -> None:
    async with bus.subscribe(EVENTS, ["#"]):
        await bus.publish(Message("heard", EVENTS, "plugin.removed.x._system", b"{}"))
    await bus.publish(Message("unheard", EVENTS, "plugin.removed.x._system", b"{}"))

    (parked,) = await drained(bus, UNROUTED, 1)
    assert parked.id == "unheard"


async def test_a_reply_that_nobody_waits_for_is_no_error(bus: Bus) -> None:
    await bus.publish(Message("r", REPLIES, "check.0198", b"{}"))


async def test_a_command_that_no_queue_takes_is_an_error(bus: Bus) -> None:
    with pytest.raises(BusUnavailable, match=r"No queue takes 'health\.typo'"):
        await bus.publish(a_command(queue="health.typo"))


async def test_one_id_twice_at_once_without_a_queue_is_an_error_twice(bus: Bus) -> None:
    command = a_command("same", queue="health.typo")

    results = await asyncio.gather(
        bus.publish(command), bus.publish(command), return_exceptions=True
    )

    assert [type(result) for result in results] == [BusUnavailable, BusUnavailable]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(Message("m", "no.such.exchange", "k", b""), id="no such exchange"),
        pytest.param(Message("m", EVENTS, "k" * 256, b""), id="routing key too long"),
    ],
)
async def test_a_message_that_can_go_nowhere_is_refused(bus: Bus, message: Message) -> None:
    with pytest.raises(MessageRefused):
        await bus.publish(message)

    await bus.publish(a_command())


async def test_a_full_queue_refuses_until_there_is_room(open_bus: OpenBus) -> None:
    async with open_bus(topology=with_max_length(QUICK, ON_DEMAND, 5)) as bus:
        with pytest.raises(BusUnavailable):
            await publish_many(bus, 20)

        # RabbitMQ takes one or two more than it was told to.
        await drained(bus, ON_DEMAND, 5)
        await published_eventually(bus)


async def publish_many(bus: Bus, count: int) -> None:
    for _ in range(count):
        await bus.publish(a_command())


async def published_eventually(bus: Bus) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await bus.publish(a_command())
            except BusUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_queue_that_is_not_in_the_topology_cannot_be_consumed(bus: Bus) -> None:
    with pytest.raises(LookupError, match=r"health\.typo"):
        async with bus.consume("health.typo", Seen(), prefetch=1):
            pass


async def test_depths_count_what_waits_and_who_consumes(bus: Bus) -> None:
    gate = Gate()
    for number in range(3):
        await bus.publish(a_command(str(number)))
    async with bus.consume(ON_DEMAND, gate, prefetch=1):
        await gate.until_entered(1)
        await until_depths(bus, {ON_DEMAND: Depth(2, 1), SCHEDULE: Depth(0, 0)})
        gate.opened.set()
        await until_depths(bus, {ON_DEMAND: Depth(0, 1), SCHEDULE: Depth(0, 0)})

    await until_depths(bus, {ON_DEMAND: Depth(0, 0)})
    assert (await bus.measure([SCHEDULE])).keys() == {SCHEDULE}


async def until_depths(bus: Bus, expected: dict[str, Depth]) -> None:
    async with asyncio.timeout(20):
        while True:
            found = await bus.measure()
            if {queue: found[queue] for queue in expected} == expected:
                return
            await asyncio.sleep(0.05)


async def test_an_open_bus_is_ready_and_a_closed_one_is_not(open_bus: OpenBus) -> None:
    async with open_bus() as bus:
        await bus.check()

    with pytest.raises(BusUnavailable):
        await bus.check()
    with pytest.raises(BusUnavailable):
        await bus.publish(a_command())
