"""/healthz, /readyz and /metrics, over a real socket."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from stella_contracts.errors import BusUnavailable
from stella_runtime import operations
from stella_runtime.operations import Dependency, serving_operations
from stella_runtime.telemetry.metrics import Metrics


class Part:
    """Something that a process needs."""

    def __init__(self) -> None:
        self.problem: str | None = None

    async def check(self) -> None:
        if self.problem is not None:
            raise BusUnavailable(self.problem)


@pytest.fixture
def database() -> Part:
    return Part()


@pytest.fixture
def bus() -> Part:
    return Part()


@pytest.fixture
async def http(database: Part, bus: Part) -> AsyncIterator[httpx.AsyncClient]:
    dependencies = {
        "database": Dependency(database.check),
        "bus": Dependency(bus.check, required=False),
    }
    metrics = Metrics()
    metrics.crud("create")
    async with (
        serving_operations(dependencies, metrics, host="127.0.0.1", port=0) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        yield client


async def test_a_process_is_ready_when_all_it_needs_is_there(http: httpx.AsyncClient) -> None:
    answer = await http.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "database": "up", "bus": "up"}


async def test_what_is_away_and_not_required_is_named(http: httpx.AsyncClient, bus: Part) -> None:
    bus.problem = "The broker does not answer."

    answer = await http.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "degraded",
        "database": "up",
        "bus": "down",
        "reasons": {"bus": "The broker does not answer."},
    }


async def test_a_process_is_not_ready_without_what_it_requires(
    http: httpx.AsyncClient, database: Part
) -> None:
    database.problem = "The database does not answer."

    answer = await http.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["status"] == "unavailable"
    assert answer.json()["database"] == "down"


async def test_a_dependency_that_hangs_is_away() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    dependencies = {"database": Dependency(hang)}

    async with (
        serving_operations(dependencies, Metrics(), host="127.0.0.1", port=0) as port,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        answer = await client.get(f"http://127.0.0.1:{port}/readyz", timeout=20)

    assert answer.status_code == 503
    assert answer.json()["reasons"] == {
        "database": f"No answer within {operations.CHECK_TIMEOUT_SECONDS:.0f} s."
    }


async def test_a_process_lives_whatever_is_away(http: httpx.AsyncClient, database: Part) -> None:
    database.problem = "The database does not answer."

    assert (await http.get("/healthz")).status_code == 200


async def test_metrics_are_there_to_be_read(http: httpx.AsyncClient) -> None:
    answer = await http.get("/metrics")

    assert 'integration_crud_total{action="create"} 1.0' in answer.text


async def test_a_taken_port_is_an_error_of_the_caller(http: httpx.AsyncClient) -> None:
    taken = http.base_url.port
    assert taken is not None

    with pytest.raises(OSError, match="in use"):
        async with serving_operations({}, Metrics(), host="127.0.0.1", port=taken):
            pass
