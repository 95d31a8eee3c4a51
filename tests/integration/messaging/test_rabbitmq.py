"""What happens on RabbitMQ when the broker, a connection or a queue goes away."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import aio_pika
import pytest
from tests.integration.messaging.doubles import QUICK, Gate, Seen, a_command, eventually
from tests.support.rabbitmq import USUAL_HANDLING_SECONDS, Server

from stella_contracts.errors import BusUnavailable
from stella_runtime.messaging.bus import Bus, Delivery, Message
from stella_runtime.messaging.connection import TopologyConflict, queue_arguments
from stella_runtime.messaging.rabbitmq import open_bus
from stella_runtime.messaging.settlement import QUEUE_HEADER, REASON_HEADER
from stella_runtime.messaging.topology import COMMANDS, EVENTS, ON_DEMAND, SCHEDULE, TOPOLOGY


@pytest.fixture
async def bus(amqp_url: str) -> AsyncIterator[Bus]:
    async with open_bus(amqp_url, name="test", topology=QUICK) as opened:
        yield opened


async def publish_until_confirmed(bus: Bus, message: Message) -> None:
    while True:
        try:
            await bus.publish(message)
        except BusUnavailable:
            await asyncio.sleep(0.05)
        else:
            return


async def until_ready(bus: Bus) -> None:
    async with asyncio.timeout(40):
        while True:
            try:
                await bus.check()
            except BusUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def publish_until(stop: asyncio.Event, bus: Bus, name: str, confirmed: list[str]) -> None:
    number = 0
    while not stop.is_set():
        message_id = f"{name}-{number}"
        await publish_until_confirmed(bus, a_command(message_id))
        confirmed.append(message_id)
        number += 1
        await asyncio.sleep(0.002)


async def test_a_restart_of_the_broker_loses_nothing_that_was_confirmed(
    bus: Bus, rabbitmq_server: Server
) -> None:
    seen, stop = Seen(), asyncio.Event()
    confirmed: list[str] = []

    async with bus.consume(ON_DEMAND, seen, prefetch=20), asyncio.TaskGroup() as publishers:
        for name in "abcd":
            publishers.create_task(publish_until(stop, bus, name, confirmed))
        await seen.until(100)
        await asyncio.to_thread(rabbitmq_server.kill)
        with pytest.raises(BusUnavailable):
            await bus.check()
        await asyncio.to_thread(rabbitmq_server.start)
        before = len(confirmed)
        await eventually(lambda: len(confirmed) >= before + 100, 40)
        stop.set()
        await eventually(lambda: set(confirmed) <= set(seen.ids), 40)

    assert set(confirmed) - set(seen.ids) == set()


async def test_a_broker_that_hangs_is_waited_for(bus: Bus, rabbitmq_server: Server) -> None:
    seen = Seen()

    async with bus.consume(ON_DEMAND, seen, prefetch=1):
        rabbitmq_server.freeze()
        try:
            with pytest.raises(BusUnavailable, match="did not answer in time"):
                await bus.publish(a_command("refused"))
            with pytest.raises(BusUnavailable, match="not confirmed in time"):
                await bus.check()
        finally:
            rabbitmq_server.thaw()
        await publish_until_confirmed(bus, a_command("taken"))
        await eventually(lambda: "taken" in seen.ids)

    await bus.check()


async def test_a_subscription_resumes_after_its_connection_was_closed(
    bus: Bus, rabbitmq_server: Server, virtual_host: str
) -> None:
    async with bus.subscribe(EVENTS, ["#"]) as deliveries:
        await asyncio.to_thread(
            rabbitmq_server.management.close_connections, virtual_host, at_least=2
        )
        first = asyncio.create_task(next_of(deliveries))
        while not first.done():
            await publish_until_confirmed(bus, Message("e", EVENTS, "a.b", b"{}"))
            await asyncio.wait({first}, timeout=0.1)

    assert first.result().id == "e"


async def next_of(deliveries: AsyncIterator[Delivery]) -> Delivery:
    async with asyncio.timeout(40):
        return await anext(deliveries)


async def test_what_runs_when_the_connection_is_closed_is_delivered_again(
    bus: Bus, rabbitmq_server: Server, virtual_host: str
) -> None:
    gate = Gate()

    async with bus.consume(ON_DEMAND, gate, prefetch=2):
        await bus.publish(a_command("survivor"))
        await gate.until_entered(1)
        await asyncio.to_thread(
            rabbitmq_server.management.close_connections, virtual_host, at_least=2
        )
        await gate.until_entered(2)
        gate.opened.set()

    assert gate.left == ["survivor", "survivor"]


async def test_a_channel_that_the_broker_closes_is_opened_again(
    bus: Bus, rabbitmq_server: Server, virtual_host: str
) -> None:
    """Publishing to an exchange that is gone closes the channel; the topology is mended."""
    seen = Seen()

    async with bus.consume(ON_DEMAND, seen, prefetch=1):
        await asyncio.to_thread(rabbitmq_server.management.delete_exchange, virtual_host, COMMANDS)
        with pytest.raises(BusUnavailable):
            await bus.publish(a_command("early"))
        await publish_until_confirmed(bus, a_command("late"))
        await seen.until(1)

    assert seen.ids == ["late"]


async def test_a_consumer_whose_channel_the_broker_closes_comes_back_and_others_go_on(
    amqp_url: str, rabbitmq_server: Server
) -> None:
    """A delivery that is not acknowledged in time: the broker closes the channel it came on."""
    gate, other = Gate(), Seen()
    await asyncio.to_thread(rabbitmq_server.limit_handling, 1.0)
    try:
        async with (
            open_bus(amqp_url, topology=QUICK) as bus,
            bus.consume(ON_DEMAND, gate, prefetch=2),
            bus.consume(SCHEDULE, other, prefetch=1),
        ):
            await bus.publish(a_command("slow"))
            await gate.until_entered(2)
            gate.opened.set()
            await bus.publish(a_command("next"))
            await bus.publish(a_command("elsewhere", queue=SCHEDULE))
            await other.until(1)
            await eventually(lambda: "next" in gate.left)
    finally:
        await asyncio.to_thread(rabbitmq_server.limit_handling, USUAL_HANDLING_SECONDS)

    assert gate.entered[:2] == ["slow", "slow"]
    assert other.ids == ["elsewhere"]


async def test_a_queue_that_is_deleted_comes_back_with_its_consumer(
    bus: Bus, rabbitmq_server: Server, virtual_host: str
) -> None:
    seen = Seen()

    async with bus.consume(ON_DEMAND, seen, prefetch=1):
        await bus.publish(a_command("before"))
        await seen.until(1)
        await asyncio.to_thread(rabbitmq_server.management.delete_queue, virtual_host, ON_DEMAND)
        await publish_until_confirmed(bus, a_command("after"))
        await seen.until(2)

    assert seen.ids == ["before", "after"]


async def test_what_a_lost_worker_had_taken_comes_to_another(amqp_url: str, bus: Bus) -> None:
    other = Seen()
    for number in range(5):
        await bus.publish(a_command(str(number)))

    await die_with_deliveries(amqp_url, 5)
    async with bus.consume(ON_DEMAND, other, prefetch=5):
        await other.until(5)

    assert sorted(other.ids) == [str(number) for number in range(5)]


async def test_the_topology_is_declared_by_every_process_alike(amqp_url: str) -> None:
    async with (
        open_bus(amqp_url, topology=TOPOLOGY) as one,
        open_bus(amqp_url, topology=TOPOLOGY) as other,
    ):
        await one.check()
        await other.check()


async def test_a_queue_with_other_arguments_is_named(
    amqp_url: str, rabbitmq_server: Server, virtual_host: str
) -> None:
    rabbitmq_server.management.declare_queue(
        virtual_host, ON_DEMAND, {"x-queue-type": "quorum", "x-max-length": 7}
    )

    with pytest.raises(TopologyConflict, match=r"'x-[a-z-]+' for queue 'health\.ondemand'"):
        async with open_bus(amqp_url):
            pass


async def test_an_exchange_of_another_kind_is_named_and_no_message_is_touched(
    amqp_url: str,
) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(EVENTS, "fanout", durable=True)
        queue = await channel.declare_queue(
            ON_DEMAND,
            durable=True,
            arguments=queue_arguments(TOPOLOGY.queue(ON_DEMAND)),
        )
        await channel.default_exchange.publish(aio_pika.Message(b"{}"), ON_DEMAND)

        for _ in range(3):
            with pytest.raises(TopologyConflict, match=r"'type' for exchange 'stella\.integ"):
                async with open_bus(amqp_url):
                    pass
        kept = await queue.get()

    assert kept.headers["x-delivery-count"] == 0


async def test_a_conflict_that_appears_later_is_said_by_readiness(
    bus: Bus, rabbitmq_server: Server, virtual_host: str
) -> None:
    management = rabbitmq_server.management
    management.delete_queue(virtual_host, ON_DEMAND)
    management.declare_queue(virtual_host, ON_DEMAND, {"x-queue-type": "quorum"})

    await asyncio.to_thread(management.close_connections, virtual_host, at_least=2)

    async def conflict() -> str:
        while True:
            try:
                await bus.check()
            except BusUnavailable as error:
                if "differs from ours" in str(error):
                    return str(error)
            await asyncio.sleep(0.05)

    async with asyncio.timeout(20):
        assert "'health.ondemand'" in await conflict()


async def test_a_bus_opens_while_the_broker_is_down(amqp_url: str, rabbitmq_server: Server) -> None:
    seen = Seen()
    await asyncio.to_thread(rabbitmq_server.kill)
    try:
        async with (
            open_bus(amqp_url, topology=QUICK) as bus,
            bus.consume(ON_DEMAND, seen, prefetch=1),
        ):
            with pytest.raises(BusUnavailable, match="cannot be used"):
                await bus.check()
            with pytest.raises(BusUnavailable, match="cannot be used"):
                await bus.publish(a_command())

            await asyncio.to_thread(rabbitmq_server.start)
            await until_ready(bus)
            await bus.publish(a_command("at last"))
            await seen.until(1)
    finally:
        await asyncio.to_thread(rabbitmq_server.start)

    assert seen.ids == ["at last"]


async def test_a_wrong_password_is_said_without_it(amqp_url: str) -> None:
    async with open_bus(amqp_url.replace("guest:guest", "guest:hunter2")) as bus:
        with pytest.raises(BusUnavailable, match="refused the user or the password") as refused:
            await bus.check()

    assert "hunter2" not in str(refused.value)


async def test_what_kills_its_consumer_every_time_is_dead_in_the_end(amqp_url: str) -> None:
    """The broker counts deliveries whose consumer is gone, and gives up by itself."""
    quick = replace(
        QUICK,
        queues=tuple(
            replace(queue, delivery_limit=2) if queue.retry else queue for queue in QUICK.queues
        ),
    )
    seen = Seen()

    async with open_bus(amqp_url, topology=quick) as bus:
        await bus.publish(a_command("killer"))
        for _ in range(3):
            await die_with_deliveries(amqp_url, 1)
        async with bus.consume(f"{ON_DEMAND}.dead", seen, prefetch=1):
            await seen.until(1)

    (dead,) = seen.deliveries
    assert (dead.id, dead.headers) == (
        "killer",
        {REASON_HEADER: "delivery_limit", QUEUE_HEADER: ON_DEMAND},
    )


async def test_a_crash_looping_worker_kills_no_innocent_message(amqp_url: str, bus: Bus) -> None:
    """Five times it dies with twenty in flight: the broker counts that against all of them."""
    seen = Seen()
    for number in range(20):
        await bus.publish(a_command(str(number)))

    for _ in range(5):
        await die_with_deliveries(amqp_url, 20)
    async with bus.consume(ON_DEMAND, seen, prefetch=5):
        await seen.until(20)
    depths = await bus.measure()

    assert sorted(seen.ids, key=int) == [str(number) for number in range(20)]
    assert depths[f"{ON_DEMAND}.dead"].messages == 0


async def die_with_deliveries(amqp_url: str, count: int) -> None:
    connection = await aio_pika.connect(amqp_url)
    async with connection, asyncio.timeout(20):
        channel = await connection.channel()
        queue = await channel.get_queue(ON_DEMAND)
        for _ in range(count):
            while await queue.get(fail=False) is None:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)
