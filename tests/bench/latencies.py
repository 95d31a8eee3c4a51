"""
How long a caller waits for a check, and a subscriber for an event, on an idle system of processes.

`on_demand_p99_ms` is from the click to the result: the whole of `POST …/health-check` with
`Prefer: wait=10`, less what the target itself needs, which is asked directly beside it.

`event_p99_ms` is from the sending of the request that changes an integration to the arrival of
its event at an AMQP subscriber. The commit lies between, so the figure is an upper bound of
"after the commit": it holds the API's own work as well.
"""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import httpx

from stella_runtime.messaging.topology import EVENTS
from tests.bench.figures import Figure
from tests.bench.stack import Databases, answers, process
from tests.bench.target import ADDRESSES
from tests.support.ports import free_port
from tests.support.processes import System, running_system

WARM_UP = 20
CHECKS = 300
CHANGES = 300
EVENT_SECONDS = 10


async def measure(databases: Databases, amqp_url: str) -> list[Figure]:
    port = free_port()
    endpoint = f"http://{ADDRESSES[0]}:{port}"
    postgres_url = await databases.migrated("latencies")
    with tempfile.TemporaryDirectory(prefix="stella-bench-") as folder:
        async with (
            process("-m", "tests.bench.target", str(port), environment={}),
            running_system(postgres_url, amqp_url, Path(folder)) as system,
        ):
            await answers(endpoint)
            await system.start("discovery")
            await _until_known(system)
            async with system.client() as http, _heard(amqp_url) as heard:
                identifier = await _registered(http, endpoint)
                return [await _on_demand(http, identifier, endpoint), await _event(http, heard)]


async def _until_known(system: System) -> None:
    await system.start("api", "worker")
    async with system.client() as http, asyncio.timeout(30):
        while (await http.get("/plugins/harbor")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def _registered(http: httpx.AsyncClient, endpoint: str) -> str:
    """Due never again by itself: no scheduler runs."""
    body = {"type": "harbor", "name": "registry", "config": {"endpoint": endpoint}}
    answer = await http.post("/integrations", json=body)
    answer.raise_for_status()
    return str(answer.json()["id"])


async def _on_demand(http: httpx.AsyncClient, identifier: str, endpoint: str) -> Figure:
    waited, needed = [], []
    async with httpx.AsyncClient(trust_env=False) as direct:
        for _ in range(WARM_UP + CHECKS):
            started = time.perf_counter()
            answer = await http.post(
                f"/integrations/{identifier}/health-check", headers={"Prefer": "wait=10"}
            )
            waited.append((time.perf_counter() - started) * 1000)
            if answer.status_code != 200 or answer.json()["status"] != "healthy":
                raise RuntimeError(f"{answer.status_code} {answer.text[:300]}")
            started = time.perf_counter()
            (await direct.get(f"{endpoint}/api/v2.0/health")).raise_for_status()
            needed.append((time.perf_counter() - started) * 1000)
    target = statistics.median(needed[WARM_UP:])
    above = [each - target for each in waited[WARM_UP:]]
    return Figure(
        "on_demand_p99_ms", _p99(above), "ms",
        notes={"median_ms": statistics.median(above), "target_median_ms": target},
    )  # fmt: skip


async def _event(http: httpx.AsyncClient, heard: "asyncio.Queue[str]") -> Figure:
    took = []
    for number in range(WARM_UP + CHANGES):
        name = f"change-{number}"
        started = time.perf_counter()
        sending = asyncio.create_task(
            http.post("/integrations", json={"type": "in-memory", "name": name, "config": {}})
        )
        async with asyncio.timeout(EVENT_SECONDS):
            while await heard.get() != name:
                pass
        took.append((time.perf_counter() - started) * 1000)
        (await sending).raise_for_status()
    took = took[WARM_UP:]
    return Figure("event_p99_ms", _p99(took), "ms", notes={"median_ms": statistics.median(took)})


@asynccontextmanager
async def _heard(amqp_url: str) -> "AsyncIterator[asyncio.Queue[str]]":
    """The names of created integrations, as a subscriber hears of them."""
    names: asyncio.Queue[str] = asyncio.Queue()

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        names.put_nowait(json.loads(message.body)["data"]["name"])

    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS, "integration.created.in-memory.#")
        await queue.consume(take, no_ack=True)
        yield names


def _p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[98]
