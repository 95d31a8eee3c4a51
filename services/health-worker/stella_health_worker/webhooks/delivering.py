"""The part of a worker that delivers webhooks, built from its settings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from stella_health_worker.secret_journal import reading_secrets
from stella_health_worker.settings import HealthWorkerSettings
from stella_health_worker.way_out import way_out
from stella_health_worker.webhooks.courier import Courier, Limits
from stella_health_worker.webhooks.rules import Rules
from stella_health_worker.webhooks.sender import Sender
from stella_runtime.messaging.bus import Bus
from stella_runtime.messaging.topology import EVENTS
from stella_runtime.persistence import Database
from stella_runtime.telemetry.metrics import Metrics


async def deliver_webhooks(
    settings: HealthWorkerSettings, database: Database, bus: Bus, metrics: Metrics
) -> None:
    """Deliver until cancelled. Connections of its own: checks wait for no receiver."""
    async with way_out(settings) as egress, reading_secrets(settings, database) as secrets:
        courier = Courier(
            database,
            Sender(egress, secrets),
            metrics,
            rules=Rules(
                disable_failures=settings.webhook_disable_failures,
                disable_age=timedelta(days=settings.webhook_disable_days),
            ),
            limits=Limits(
                working=settings.webhook_concurrency,
                failing=max(1, settings.webhook_concurrency // 4),
                log_age=timedelta(days=settings.webhook_log_days),
            ),
            drain_seconds=settings.drain_seconds,
        )
        async with woken(courier, bus):
            await courier.run()


@asynccontextmanager
async def woken(courier: Courier, bus: Bus) -> AsyncIterator[None]:
    """
    Have a courier look at once when an event is published, while inside.

    A hint: what the bus does not tell, since it is away, is found by the next poll.
    """

    async def wake() -> None:
        async with bus.subscribe(EVENTS, ["#"]) as events:
            async for _ in events:
                courier.wake()

    task = asyncio.create_task(wake())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
