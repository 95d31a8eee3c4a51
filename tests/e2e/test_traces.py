"""One trace across processes, as a collector receives it."""

import asyncio
from collections.abc import Callable

import httpx
from tests.support.harbor_server import harbor_server
from tests.support.otlp_receiver import OtlpReceiver, otlp_receiver
from tests.support.processes import System

GATEWAY = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = GATEWAY.split("-")[1]


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - conditions of any kind, polled
            await asyncio.sleep(0.05)


async def registered(http: httpx.AsyncClient, endpoint: str) -> str:
    body = {"type": "harbor", "name": "registry-eu", "config": {"endpoint": endpoint}}
    answer = await http.post("/integrations", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def paths(receiver: OtlpReceiver) -> list[list[tuple[str, str]]]:
    return [receiver.path(span) for span in receiver.spans if span.trace_id == TRACE]


ASKED = [
    ("stella-api", "POST /integrations/{integration_id}/health-check"),
    ("stella-api", "request health check"),
    ("stella-api", "send stella.integrations.commands"),
    ("stella-health-worker", "process health.ondemand"),
]


async def test_a_check_is_one_trace_across_api_broker_and_worker(system: System) -> None:
    async with otlp_receiver() as receiver, harbor_server() as harbor:
        system.environment = {
            **system.environment,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        await system.start("discovery", "api", "worker")
        async with system.client() as http:
            integration_id = await registered(http, harbor.url)
            answer = await http.post(
                f"/integrations/{integration_id}/health-check",
                headers={"Prefer": "wait=30", "traceparent": GATEWAY},
            )
        assert answer.json()["status"] == "healthy", answer.text
        # The last spans are sent when their processes end.
        await system.stop("api")
        await system.stop("worker")

        found = paths(receiver)
        check = [*ASKED, ("stella-health-worker", "health check")]
        assert [*check, ("stella-health-worker", "GET")] in found
        assert [*check, ("stella-health-worker", "record result")] in found
        assert [
            *ASKED,
            ("stella-health-worker", "send stella.integrations.replies"),
            ("stella-api", "process stella.integrations.replies"),
        ] in found
        assert ("stella-discovery", "discover plugins") in {
            (span.service, span.name) for span in receiver.spans
        }


async def test_a_collector_that_is_away_keeps_nobody_from_working_or_stopping(
    system: System,
) -> None:
    system.environment = {
        **system.environment,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    async with harbor_server() as harbor:
        await system.start("discovery", "api", "worker")
        async with system.client() as http:
            integration_id = await registered(http, harbor.url)
            answer = await http.post(
                f"/integrations/{integration_id}/health-check", headers={"Prefer": "wait=30"}
            )

        assert answer.json()["status"] == "healthy", answer.text
        assert await system.stop("api") == 0
        assert await system.stop("worker") == 0
