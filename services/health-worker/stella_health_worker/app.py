"""Builds the parts of a worker and of a scheduler, runs them until SIGTERM, drains."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import structlog

from stella_health_worker.alerts import keep_alerts
from stella_health_worker.breakers import Breakers
from stella_health_worker.canary import Canary
from stella_health_worker.clock import DatabaseClock
from stella_health_worker.handlers import Tools
from stella_health_worker.history import keep_history
from stella_health_worker.lanes import Lanes
from stella_health_worker.leases import Leases
from stella_health_worker.limits import Limits
from stella_health_worker.own_health import OwnHealth
from stella_health_worker.prober import Prober
from stella_health_worker.queues import keep_queue_gauges
from stella_health_worker.recording import Recorder
from stella_health_worker.scheduler import Scheduler
from stella_health_worker.secret_journal import reading_secrets
from stella_health_worker.settings import HealthWorkerSettings
from stella_health_worker.taking import taking
from stella_health_worker.upkeep import keep_gauges, keep_tidy
from stella_health_worker.way_out import way_out
from stella_health_worker.webhooks.delivering import deliver_webhooks
from stella_runtime.messaging.bus import Bus
from stella_runtime.messaging.topology import EVENTS
from stella_runtime.operations import Dependency, serving_operations
from stella_runtime.persistence import Database
from stella_runtime.persistence.plugin_metadata import PluginRecord
from stella_runtime.plugin_host.loader import PluginHost
from stella_runtime.process import process
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()


async def serve(settings: HealthWorkerSettings) -> None:
    """Run the roles that the settings name, until a signal."""
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(process(settings, name="stella-health-worker"))
        database, bus, metrics = opened.database, opened.bus, opened.metrics
        dependencies = {"database": Dependency(database.check), "bus": Dependency(bus.check)}
        await stack.enter_async_context(
            serving_operations(dependencies, metrics, host=settings.host, port=settings.port)
        )
        await opened.run(*parts(settings, database, bus, metrics))


def parts(
    settings: HealthWorkerSettings, database: Database, bus: Bus, metrics: Metrics
) -> list[Coroutine[Any, Any, None]]:
    """What a process runs for its roles. Each part ends when it is cancelled, after draining."""
    running: list[Coroutine[Any, Any, None]] = []
    if settings.role in {"scheduler", "all"}:
        running += [
            Scheduler(database, bus, metrics, lease_margin=settings.lease_margin).run(),
            keep_gauges(database, metrics),
            keep_alerts(database, reminder_seconds=settings.alert_reminder_seconds),
            keep_history(settings, metrics),
            keep_queue_gauges(bus, metrics),
            keep_tidy(
                database,
                outbox_kept=timedelta(hours=settings.outbox_retention_hours),
                audit_kept=settings.audit_kept,
            ),
        ]
    if settings.role in {"worker", "all"}:
        running.append(work(settings, database, bus, metrics))
        if settings.webhook_concurrency:
            running.append(deliver_webhooks(settings, database, bus, metrics))
    return running


async def work(
    settings: HealthWorkerSettings, database: Database, bus: Bus, metrics: Metrics
) -> None:
    """Consume checks until cancelled. What has been taken is finished, within the drain time."""
    async with AsyncExitStack() as stack:
        clock = DatabaseClock()
        plugins = PluginHost(lambda: _known_plugins(database))
        egress = await stack.enter_async_context(way_out(settings))
        prober = Prober(
            plugins=plugins,
            secrets=await stack.enter_async_context(reading_secrets(settings, database)),
            egress=egress,
            worker=settings.worker_name,
            now=clock.now,
            crashed=metrics.plugin_crashed,
        )
        recorder = Recorder(database, metrics)
        await stack.enter_async_context(recorder.running())
        loop_time = asyncio.get_running_loop().time
        own_health = OwnHealth(
            prober,
            recorder,
            canary=Canary(settings.egress_canary, loop_time) if settings.egress_canary else None,
            gauges=metrics,
            worker=settings.worker_name,
            now=loop_time,
        )
        await stack.enter_async_context(own_health.telling(database))
        lanes = Lanes(
            prober=own_health,
            recorder=own_health,
            leases=Leases(database, margin=settings.lease_margin),
            limits=Limits(
                per_host=settings.host_concurrency, per_tenant=settings.tenant_concurrency
            ),
            breakers=Breakers(loop_time, on_change=metrics.hosts_shut_out),
            counters=metrics,
            live=settings.concurrency,
            slow=settings.slow_concurrency,
            worker=settings.worker_name,
            now=clock.now,
        )
        tools = Tools(database=database, lanes=lanes, bus=bus, clock=clock, prober=prober)
        changes = await stack.enter_async_context(bus.subscribe(EVENTS, ["plugin.#"]))
        await stack.enter_async_context(
            taking(
                bus,
                tools,
                lanes,
                ondemand_at_once=settings.ondemand_concurrency,
                drain_seconds=settings.drain_seconds,
            )
        )
        log.info("worker_started", worker=settings.worker_name)
        async for _ in changes:
            await plugins.refresh()


async def _known_plugins(database: Database) -> Sequence[PluginRecord]:
    async with database.system_transaction() as transaction:
        return await transaction.plugins.list_records()
