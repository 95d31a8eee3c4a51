"""What a worker takes from which queue, until it stops with all of them at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pydantic import TypeAdapter

from stella_contracts.messages import RunScheduledChecks
from stella_health_worker.handlers import (
    AskedCheck,
    Tools,
    run_asked_check,
    run_scheduled_checks,
    run_slow_checks,
)
from stella_health_worker.lanes import Lanes
from stella_runtime.messaging.bus import Bus, Delivery, Handler
from stella_runtime.messaging.topology import ON_DEMAND, SCHEDULE, SLOW

LIVE_MESSAGES = 20
"""Of fifty checks each: enough that slots never wait for the broker, though many a message waits
a moment for a target that has just gone away."""
SLOW_MESSAGES = 8

CommandT = TypeVar("CommandT")


@asynccontextmanager
async def taking(
    bus: Bus, tools: Tools, lanes: Lanes, *, ondemand_at_once: int, drain_seconds: float
) -> AsyncIterator[None]:
    """
    Take checks while inside.

    Leaving takes no more of any queue, lets what runs end within the drain time, and hands
    the rest back: messages to the broker, and checks without a message to the next tick.
    """
    stop = asyncio.Event()

    async def take(queue: str, handler: Handler, prefetch: int) -> None:
        async with bus.consume(queue, handler, prefetch=prefetch):
            await stop.wait()

    tasks = [
        asyncio.create_task(take(queue, handler, prefetch), name=f"take {queue}")
        for queue, handler, prefetch in (
            (SCHEDULE, _handler(RunScheduledChecks, run_scheduled_checks, tools), LIVE_MESSAGES),
            (SLOW, _handler(RunScheduledChecks, run_slow_checks, tools), SLOW_MESSAGES),
            (ON_DEMAND, _handler(AskedCheck, run_asked_check, tools), ondemand_at_once),
        )
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks, lanes.drain(drain_seconds))


def _handler(
    command: Any, handle: Callable[[CommandT, Tools], Awaitable[None]], tools: Tools
) -> Handler:
    shape: TypeAdapter[CommandT] = TypeAdapter(command)

    async def decode_and_handle(delivery: Delivery) -> None:
        await handle(shape.validate_json(delivery.body), tools)

    return decode_and_handle
