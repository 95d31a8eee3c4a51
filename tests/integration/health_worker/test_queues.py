"""What waits on the bus can be seen in the scheduler's metrics."""

import asyncio

from tests.support.rabbitmq import Server

from stella_contracts.errors import BusUnavailable
from stella_health_worker.queues import keep_queue_gauges
from stella_runtime.messaging.bus import Bus, Delivery, Message
from stella_runtime.messaging.rabbitmq import open_bus
from stella_runtime.messaging.topology import COMMANDS, EVENTS, ON_DEMAND, SCHEDULE
from stella_runtime.telemetry.metrics import Metrics


async def until_shown(metrics: Metrics, *lines: str) -> None:
    async with asyncio.timeout(20):
        while not set(lines) <= set(metrics.exposition().decode().splitlines()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def refuse(_: Delivery) -> None:
    raise ValueError


async def test_depths_dead_letters_and_what_nobody_wanted_are_gauges(amqp_url: str) -> None:
    metrics = Metrics()

    async with (
        open_bus(amqp_url, meter=metrics) as bus,
        bus.consume(ON_DEMAND, refuse, prefetch=1),
    ):
        await bus.publish(Message("lonely", EVENTS, "integration.created.harbor.acme", b"{}"))
        await bus.publish(Message("waiting", COMMANDS, SCHEDULE, b"{}"))
        await bus.publish(Message("poison", COMMANDS, ON_DEMAND, b"{}"))
        measuring = asyncio.create_task(keep_queue_gauges(bus, metrics))
        try:
            await until_shown(
                metrics,
                'integration_queue_messages{queue="stella.unrouted"} 1.0',
                'integration_queue_messages{queue="health.schedule"} 1.0',
                'integration_queue_messages{queue="health.ondemand"} 0.0',
                'integration_queue_messages{queue="health.ondemand.dead"} 1.0',
                'integration_queue_consumers{queue="health.ondemand"} 1.0',
                'integration_queue_consumers{queue="health.schedule"} 0.0',
                'integration_dead_letters_total{queue="health.ondemand"} 1.0',
                'integration_queue_age_seconds_count{queue="health.ondemand"} 1.0',
            )
        finally:
            measuring.cancel()


async def test_while_the_broker_is_away_no_depth_is_claimed(
    amqp_url: str, rabbitmq_server: Server
) -> None:
    metrics = Metrics()

    async with open_bus(amqp_url) as bus:
        measuring = asyncio.create_task(keep_queue_gauges(bus, metrics))
        try:
            await until_shown(metrics, 'integration_queue_messages{queue="health.schedule"} 0.0')
            await asyncio.to_thread(rabbitmq_server.kill)
            await until_lost(bus)
            async with asyncio.timeout(20):
                while "integration_queue_messages{" in metrics.exposition().decode():  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            measuring.cancel()
            await asyncio.to_thread(rabbitmq_server.start)


async def until_lost(bus: Bus) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await bus.check()
            except BusUnavailable:
                return
            await asyncio.sleep(0.05)
