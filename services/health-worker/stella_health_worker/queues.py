"""What the scheduler tells of the bus: how full each queue is, also the dead and the unrouted."""

import asyncio

import structlog

from stella_contracts.errors import Unavailable
from stella_runtime.messaging.bus import Bus
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()

MEASURE_SECONDS = 5.0


async def keep_queue_gauges(bus: Bus, metrics: Metrics) -> None:
    """Measure the queues until cancelled. While the bus is away, there is no value."""
    while True:
        try:
            await measure_queues(bus, metrics)
        except Unavailable as error:
            metrics.queues({}, {})
            log.warning("queues_not_measured", reason=str(error))
        await asyncio.sleep(MEASURE_SECONDS)


async def measure_queues(bus: Bus, metrics: Metrics) -> None:
    """Set the gauges to what the bus says now."""
    depths = await bus.measure()
    metrics.queues(
        {queue: depth.messages for queue, depth in depths.items()},
        {queue: depth.consumers for queue, depth in depths.items()},
    )
