"""The way to the broker is lost under load, or a process is killed on it: nothing is lost."""

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import psycopg
from tests.support.api import ANY_VERSION
from tests.support.parting import parting
from tests.support.processes import System
from tests.support.rabbitmq import Server
from tests.support.subscriber import Subscriber, subscribed
from tests.support.tcp_proxy import tcp_proxy

PATIENCE = 40


def types_of(received: Subscriber, integration_id: str) -> list[str]:
    return [each["type"] for each in received.about(integration_id)]


async def create(http: httpx.AsyncClient, number: int) -> str:
    registration = {"type": "in-memory", "name": f"tool-{number}", "config": {}}
    answer = await http.post("/integrations", json=registration)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def rename(http: httpx.AsyncClient, integration_id: str) -> None:
    changed = await http.put(
        f"/integrations/{integration_id}", json={"description": "changed"}, headers=ANY_VERSION
    )
    assert changed.status_code == 200, changed.text


async def readiness(system: System) -> tuple[int, dict[str, Any]]:
    async with httpx.AsyncClient(timeout=10) as http:
        answer = await http.get(f"{system.services['api'].url}/readyz")
    return answer.status_code, answer.json()


async def until(condition: Any, seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of any kind, polled
            await asyncio.sleep(0.05)


async def until_ready(system: System, status: str, seconds: float = PATIENCE) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while True:
            _, said = await readiness(system)
            if said["status"] == status:
                return said
            await asyncio.sleep(0.05)


async def unpublished(database_url: str) -> int:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        cursor = await connection.execute("select count(*) from outbox where published_at is null")
        [count] = await cursor.fetchone() or (0,)
    return int(count)


async def let_leases_end(database_url: str) -> None:
    """What a dead relay had claimed is given back after half a minute; here, now."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("update outbox set leased_until = now() - interval '1 s'")


async def write_steadily(http: httpx.AsyncClient, numbers: range) -> list[str]:
    """Some fifty writes a second: each integration is created, then changed."""
    written: list[str] = []
    for number in numbers:
        integration_id = await create(http, number)
        await rename(http, integration_id)
        written.append(integration_id)
        await asyncio.sleep(0.02)
    return written


async def test_writes_go_on_without_a_broker_and_are_announced_in_order_after_it(
    system: System, database_url: str, amqp_url: str, rabbitmq_server: Server
) -> None:
    await system.start("discovery", "api")
    async with system.client() as http, subscribed(amqp_url) as received:
        written = await write_steadily(http, range(20))
        await asyncio.to_thread(rabbitmq_server.stop)
        try:
            written += await write_steadily(http, range(20, 80))
            said = await until_ready(system, "degraded")
            code, _ = await readiness(system)
            waiting = await unpublished(database_url)
        finally:
            await asyncio.to_thread(rabbitmq_server.start)
        expected = ["integration.created", "integration.updated"]
        await until(lambda: all(types_of(received, each) == expected for each in written), 30)
        await until_ready(system, "ready")

    assert (code, said["bus"], said["database"]) == (200, "down", "up")
    assert waiting >= 120


async def test_a_process_that_is_killed_before_it_publishes_is_stood_in_for_by_another(
    system: System, database_url: str, amqp_url: str
) -> None:
    async with tcp_proxy(amqp_url) as network:
        direct = system.environment
        await system.start("discovery")
        system.environment = {**direct, "STELLA_AMQP_URL": network.url(amqp_url)}
        await system.start("api")
        async with system.client() as http, subscribed(amqp_url) as received:
            network.cut()
            integration_id = await create(http, 1)
            await system.kill("api")
            published_by_it = types_of(received, integration_id)
            network.reset()
            network.heal()
            await let_leases_end(database_url)

            system.environment = direct
            await system.start("scheduler")
            await until(lambda: types_of(received, integration_id) == ["integration.created"])

    assert published_by_it == []
    assert set(received.deliveries.values()) == {1}


async def test_a_relay_that_is_killed_between_confirmation_and_bookkeeping_repeats_the_same_id(
    system: System, database_url: str, amqp_url: str
) -> None:
    async with tcp_proxy(database_url) as network:
        await system.start("discovery")
        # It has told of the plugins. Its relay could publish, and mark, in place of the api's.
        async with asyncio.timeout(PATIENCE):
            while await unpublished(database_url):  # noqa: ASYNC110 - another process publishes
                await asyncio.sleep(0.05)
        await system.stop("discovery")
        system.environment = {
            **system.environment,
            "STELLA_DATABASE_URL": network.url(database_url),
        }
        await system.start("api")
        async with system.client() as http, subscribed(amqp_url) as received:
            # What has been published is marked that much later; perhaps before the answer is here.
            network.latency = 0.1
            creating = asyncio.create_task(create(http, 1))
            await until(lambda: bool(received.events))
            # Nor may what is under way arrive after its death.
            network.cut()
            await system.kill("api")
            network.reset()
            network.heal()
            network.latency = 0.0
            with suppress(httpx.TransportError):
                await creating
            left = await unpublished(database_url)
            assert left == 1
            await let_leases_end(database_url)
            await system.start("api")
            await until(lambda: set(received.deliveries.values()) == {2})

    assert len(received.events) == 1


async def test_a_silent_partition_from_the_broker_delays_events_and_nothing_else(
    system: System, database_url: str, amqp_url: str
) -> None:
    await system.start("discovery")
    async with parting(system, "STELLA_AMQP_URL") as network:
        await system.start("api")
        async with system.client() as http, subscribed(amqp_url) as received:
            network.cut()
            written = await write_steadily(http, range(20))
            said = await until_ready(system, "degraded")
            before = types_of(received, written[0])
            network.heal()
            # The bar is ten seconds; the machine may be busy.
            await until(lambda: all(len(types_of(received, each)) == 2 for each in written), 20)
            await until_ready(system, "ready", 20)

    assert said["bus"] == "down"
    assert before == []


async def test_a_worker_that_is_parted_from_its_database_goes_on_when_it_is_back(
    system: System,
) -> None:
    await system.start("discovery", "api")
    async with parting(system, "STELLA_DATABASE_URL") as network:
        await system.start("worker")
        async with system.client() as http:
            integration_id = await create(http, 1)
            network.cut()
            asked = await http.post(f"/integrations/{integration_id}/health-check")
            assert asked.status_code == 202, asked.text
            # Until the first attempt is given up, with no answer from anyone.
            await until(lambda: "message_retried" in system.services["worker"].said(), 60)
            network.heal()
            answer = await finished(http, asked.json()["statusUrl"])

    assert answer["status"] == "healthy"


async def finished(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            answer = (await http.get(url.removeprefix("/api/v1"))).json()
            if answer["state"] == "finished":
                found: dict[str, Any] = answer
                return found
            await asyncio.sleep(0.1)
