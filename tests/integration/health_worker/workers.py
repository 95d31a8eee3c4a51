"""A worker in the test's own process: its parts, its bus, and a network that can be harmed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from tests.support.catalog import TENANT, register
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

from stella_contracts.health import CheckTrigger
from stella_contracts.messages import RunRequestedCheck, RunScheduledChecks
from stella_discovery.app import Discovery
from stella_health_worker.app import work
from stella_health_worker.settings import HealthWorkerSettings
from stella_runtime.ids import new_id
from stella_runtime.messaging.bus import Bus, Message
from stella_runtime.messaging.in_process import InProcessBus
from stella_runtime.messaging.rabbitmq import open_bus
from stella_runtime.messaging.topology import COMMANDS, ON_DEMAND, SCHEDULE
from stella_runtime.persistence import Database
from stella_runtime.plugin_host.scanner import Sources
from stella_runtime.telemetry.metrics import Metrics


@dataclass
class Worker:
    """One that works in this process, on a network that can be harmed."""

    bus: Bus
    network: TcpProxy
    metrics: Metrics

    def taken(self, queue: str) -> int:
        """How many deliveries of a queue its handlers got."""
        name = "integration_queue_age_seconds_count"
        return int(self.metrics.registry.get_sample_value(name, {"queue": queue}) or 0)

    def died(self, queue: str) -> int:
        """How many of them are dead letters now."""
        name = "integration_dead_letters_total"
        return int(self.metrics.registry.get_sample_value(name, {"queue": queue}) or 0)

    async def until_taken(self, queue: str, count: int) -> None:
        async with asyncio.timeout(30):
            while self.taken(queue) < count:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.02)

    async def until_idle(self, queue: str) -> None:
        """Until nothing waits, and no handler runs."""
        async with asyncio.timeout(30):
            while True:
                depths = await self.bus.measure()
                if depths[queue].messages == 0:
                    return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def working(database: Database, database_url: str, amqp_url: str) -> AsyncIterator[Worker]:
    """Left when everything that was taken is finished."""
    metrics = Metrics()
    await Discovery(
        Sources(built_in=(Path("plugins").absolute(),), paths=(), installed=False),
        database,
        InProcessBus(),
        metrics,
    ).scan_once()
    settings = HealthWorkerSettings.model_validate(
        {"role": "worker", "database_url": database_url, "amqp_url": amqp_url, "worker_name": "w"}
    )
    async with (
        tcp_proxy(amqp_url) as network,
        open_bus(network.url(amqp_url), name="test", meter=metrics) as bus,
    ):
        task = asyncio.create_task(work(settings, database, bus, metrics))
        try:
            yield Worker(bus, network, metrics)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def an_outage(database: Database) -> UUID:
    """An integration whose first check finds one."""
    integration = await register(
        database, type="in-memory", config={"script": ["connect"]}, failure_threshold=1
    )
    return integration.id


async def scheduled(database: Database) -> Message:
    await an_outage(database)
    async with database.system_transaction() as transaction:
        claimed = await transaction.leases.claim(10)
    command = RunScheduledChecks(checks=list(claimed.checks))
    return Message(str(new_id()), COMMANDS, SCHEDULE, command.model_dump_json().encode())


async def requested(database: Database) -> Message:
    integration_id = await an_outage(database)
    async with database.transaction(TENANT) as transaction:
        request = await transaction.check_requests.join_or_add(
            integration_id, requested_by="alice", timeout_seconds=10
        )
    command = RunRequestedCheck(
        check_id=request.check_id,
        integration_id=integration_id,
        tenant_id=TENANT,
        trigger=CheckTrigger.ON_DEMAND,
        request_id="r",
    )
    return Message(str(command.check_id), COMMANDS, ON_DEMAND, command.model_dump_json().encode())


COMMAND_OF = {SCHEDULE: scheduled, ON_DEMAND: requested}
