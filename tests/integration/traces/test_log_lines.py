"""What the lines of a log say: each of a family the same, under the names of the API."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from tests.support.api import Authority
from tests.support.whole_system import running_whole

from stella_runtime.persistence import Database
from stella_runtime.telemetry.logging import also_say, configure_logging

TRACE = "0af7651916cd43dd8448eb211c80319c"
GATEWAY = f"00-{TRACE}-b7ad6b7169203331-01"
CAMEL = re.compile(r"[a-z][a-zA-Z0-9]*")

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Logs as a process does, and reads what it has written."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    written: list[str] = []

    def read() -> list[dict[str, Any]]:
        written.append(capsys.readouterr().out)
        return [json.loads(line) for line in "".join(written).splitlines()]

    yield read
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


FAMILIES = {
    "request_handled": {"requestId", "tenantId", "action", "traceId"},
    "integration_created": {"integrationId", "tenantId", "providerType", "action", "requestId"},
    "integration_deleted": {"integrationId", "tenantId", "providerType", "action", "requestId"},
    "health_checked": {
        *("integrationId", "tenantId", "providerType", "action", "requestId", "traceId"),
        *("checkId", "status", "latencyMs"),
    },
    "egress_blocked": {"integrationId", "tenantId", "providerType", "action", "requestId"},
    "plugin_registered": {"pluginId", "providerType", "action"},
    "plugin_loaded": {"pluginId", "providerType", "integrationId", "tenantId"},
}


async def test_each_line_says_what_its_family_says_in_camel_case(
    database: Database, authority: Authority, lines: Lines
) -> None:
    configure_logging("info", service="tests")
    async with running_whole(database, authority) as whole:
        headers = {"traceparent": GATEWAY, "X-Request-ID": "mine"}
        whole.http.headers.update(headers)
        integration_id = await whole.register()
        await whole.check(integration_id)
        blocked = await whole.register(
            name="inside", config={"endpoint": "http://10.1.2.3"}, checkTimeoutSeconds=5
        )
        await whole.check(blocked)
        await whole.http.delete(f"/integrations/{integration_id}")
        found = lines()

    for family, said in FAMILIES.items():
        of_family = [line for line in found if line["event"] == family]
        assert of_family, f"{family} was not written"
        for line in of_family:
            assert said <= line.keys(), f"{family} lacks {said - line.keys()}: {line}"
            assert line.get("requestId", "mine") == "mine"
            assert line.get("traceId", TRACE) == TRACE
    names = {name for line in found for name in line}
    assert [name for name in names if not CAMEL.fullmatch(name)] == []


async def test_a_line_of_a_check_names_the_check_whoever_writes_it(
    capsys: pytest.CaptureFixture[str], lines: Lines
) -> None:
    configure_logging("info", service="tests")

    async def check(name: str) -> None:
        also_say(lambda: {"integration_id": name})
        await asyncio.sleep(0)
        structlog.get_logger().info("deep_inside")

    async with asyncio.TaskGroup() as group:
        for name in ("one", "other"):
            group.create_task(check(name))
    structlog.get_logger().info("outside")

    assert [line.get("integrationId") for line in lines()] == ["one", "other", None]
