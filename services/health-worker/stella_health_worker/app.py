"""Builds the parts of a worker and of a scheduler, runs them until SIGTERM, drains."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel

from stella_contracts.messages import RunRequestedCheck, RunScheduledChecks
from stella_health_worker.handlers import Tools, run_requested_check, run_scheduled_checks
from stella_health_worker.prober import Prober
from stella_health_worker.queues import keep_queue_gauges
from stella_health_worker.recording import Recorder
from stella_health_worker.scheduler import Scheduler
from stella_health_worker.settings import HealthWorkerSettings
from stella_health_worker.upkeep import keep_gauges, keep_tidy
from stella_runtime.egress import open_egress
from stella_runtime.lifecycle import supervise
from stella_runtime.messaging.bus import Bus, Delivery
from stella_runtime.messaging.rabbitmq import open_bus
from stella_runtime.messaging.relay import Relay
from stella_runtime.messaging.topology import EVENTS, ON_DEMAND, SCHEDULE
from stella_runtime.operations import Dependency, serving_operations
from stella_runtime.persistence import Database, open_engine
from stella_runtime.persistence.plugin_metadata import PluginRecord
from stella_runtime.plugin_host.loader import PluginHost
from stella_runtime.secrets import SecretResolver
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()

MESSAGES_AT_ONCE = 8
"""Of fifty checks each: enough that the slots never wait for the broker."""

CommandT = TypeVar("CommandT", bound=BaseModel)


async def serve(settings: HealthWorkerSettings) -> None:
    """Run the roles that the settings name, until a signal."""
    metrics = Metrics()
    engine = open_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        application="stella-health-worker",
    )
    database = Database(engine)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        bus = await stack.enter_async_context(
            open_bus(
                settings.amqp_url.get_secret_value(),
                name="stella-health-worker",
                drain_seconds=settings.drain_seconds,
                meter=metrics,
            )
        )
        dependencies = {"database": Dependency(database.check), "bus": Dependency(bus.check)}
        await stack.enter_async_context(
            serving_operations(dependencies, metrics, host=settings.host, port=settings.port)
        )
        relay = Relay(database, bus)
        database.announce_commits_to(relay.wake)
        await supervise(*parts(settings, database, bus, metrics), relay.run())


def parts(
    settings: HealthWorkerSettings, database: Database, bus: Bus, metrics: Metrics
) -> list[Coroutine[Any, Any, None]]:
    """What a process runs for its roles. Each part ends when it is cancelled, after draining."""
    running: list[Coroutine[Any, Any, None]] = []
    if settings.role in {"scheduler", "all"}:
        running += [
            Scheduler(database, bus, metrics).run(),
            keep_gauges(database, metrics),
            keep_queue_gauges(bus, metrics),
            keep_tidy(database, outbox_kept=timedelta(hours=settings.outbox_retention_hours)),
        ]
    if settings.role in {"worker", "all"}:
        running.append(work(settings, database, bus, metrics))
    return running


async def work(
    settings: HealthWorkerSettings, database: Database, bus: Bus, metrics: Metrics
) -> None:
    """Consume checks until cancelled. What has been taken is finished, within the drain time."""
    async with AsyncExitStack() as stack:
        plugins = PluginHost(lambda: _known_plugins(database))
        egress = await stack.enter_async_context(
            open_egress(settings.egress_allow, send_traceparent=settings.send_traceparent)
        )
        prober = Prober(
            plugins=plugins,
            secrets=SecretResolver(environment=settings.environment, folder=settings.secret_folder),
            egress=egress,
            worker=settings.worker_name,
        )
        recorder = Recorder(database, metrics)
        await stack.enter_async_context(recorder.running())
        tools = Tools(
            database=database,
            prober=prober,
            recorder=recorder,
            bus=bus,
            slots=asyncio.Semaphore(settings.concurrency),
        )
        changes = await stack.enter_async_context(bus.subscribe(EVENTS, ["plugin.#"]))
        await stack.enter_async_context(
            bus.consume(
                SCHEDULE,
                _handler(RunScheduledChecks, run_scheduled_checks, tools),
                prefetch=MESSAGES_AT_ONCE,
            )
        )
        await stack.enter_async_context(
            bus.consume(
                ON_DEMAND,
                _handler(RunRequestedCheck, run_requested_check, tools),
                prefetch=settings.ondemand_concurrency,
            )
        )
        log.info("worker_started", worker=settings.worker_name)
        async for _ in changes:
            await plugins.refresh()


async def _known_plugins(database: Database) -> Sequence[PluginRecord]:
    async with database.system_transaction() as transaction:
        return await transaction.plugins.list_records()


def _handler(
    command: type[CommandT], handle: Callable[[CommandT, Tools], Awaitable[None]], tools: Tools
) -> Callable[[Delivery], Awaitable[None]]:
    async def decode_and_handle(delivery: Delivery) -> None:
        await handle(command.model_validate_json(delivery.body), tools)

    return decode_and_handle
