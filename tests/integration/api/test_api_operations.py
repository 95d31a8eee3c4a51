"""Probes, metrics, logs, and what happens while something is away."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
import structlog
from tests.support.api import Authority, Hub, assert_problem, registered, running_hub
from tests.support.builders import a_registration

from stella_embedded.postgres import EmbeddedPostgres
from stella_migrations.commands import upgrade
from stella_runtime.persistence import Database, open_engine


def outside(hub: Hub) -> httpx.AsyncClient:
    """Somebody without a token, at the paths beside the API."""
    client = hub.client(authorization="")
    client.base_url = httpx.URL("http://hub.test")
    return client


async def test_probes_need_no_token_and_name_what_they_looked_at(hub: Hub) -> None:
    probe = outside(hub)

    alive, ready = await probe.get("/healthz"), await probe.get("/readyz")

    assert alive.status_code == 200
    assert ready.json() == {"status": "ready", "database": "up", "bus": "up", "keys": "up"}


async def test_a_missing_schema_is_told_with_the_way_out(
    empty_database_url: str, authority: Authority
) -> None:
    database = Database(open_engine(empty_database_url, pool_size=2, application="tests"))
    async with running_hub(database, authority) as hub:
        ready = await outside(hub).get("/readyz")
        listed = await hub.client().get("/integrations")

        assert (ready.status_code, ready.json()["database"]) == (503, "down")
        assert "stella db upgrade" in ready.json()["reasons"]["database"]
        assert_problem(listed, 503, "schema_missing")
    await database.close()


async def test_the_api_is_ready_and_writes_while_the_bus_is_away(
    hub: Hub, api: httpx.AsyncClient
) -> None:
    await hub.bus.__aexit__(None, None, None)

    ready = await outside(hub).get("/readyz")
    record = await registered(api)

    assert (ready.status_code, ready.json()["bus"]) == (200, "down")
    assert ready.json()["status"] == "degraded"
    assert record["version"] == 1


async def test_a_database_that_is_away_is_a_503_and_comes_back(
    own_postgres_server: EmbeddedPostgres, authority: Authority
) -> None:
    url = own_postgres_server.url()
    await asyncio.to_thread(upgrade, url)
    database = Database(open_engine(url, pool_size=3, application="tests"))
    async with running_hub(database, authority) as hub:
        await hub.put_plugins("registry")
        api = hub.client()
        record = await registered(api)
        await asyncio.to_thread(own_postgres_server.stop)

        read = await api.get(f"/integrations/{record['id']}")
        written = await api.post("/integrations", json=a_registration())
        ready = await outside(hub).get("/readyz")

        for answer in (read, written):
            assert_problem(answer, 503, "database_unavailable")
            assert answer.headers["retry-after"] == "2"
        assert (ready.status_code, ready.json()["database"]) == (503, "down")

        await asyncio.to_thread(own_postgres_server.start)
        again = await api.get(f"/integrations/{record['id']}")
        assert again.json() == record
    await database.close()


async def test_requests_are_measured_by_route_and_not_by_path(
    hub: Hub, api: httpx.AsyncClient
) -> None:
    record = await registered(api)
    await api.get(f"/integrations/{record['id']}")
    await api.get("/nothing/at/all")

    exposed = (await outside(hub).get("/metrics")).text

    assert 'route="/integrations/{integration_id}",status="200"' in exposed
    assert record["id"] not in exposed
    assert "/nothing" not in exposed


class TestLog:
    @pytest.fixture
    async def lines(self) -> AsyncIterator[list[structlog.typing.EventDict]]:
        with structlog.testing.capture_logs(
            processors=[structlog.contextvars.merge_contextvars]
        ) as captured:
            yield captured

    async def test_a_request_is_one_line_that_says_whose_and_what(
        self, lines: list[structlog.typing.EventDict], hub: Hub
    ) -> None:
        record = await registered(hub.client())
        lines.clear()

        answer = await hub.client().get(
            f"/integrations/{record['id']}", headers={"X-Request-ID": "mine"}
        )

        (line,) = lines
        assert answer.status_code == 200
        assert dict(line) == dict(line) | {
            "event": "request_handled",
            "action": "GET /integrations/{integration_id}",
            "request_id": "mine",
            "tenant_id": "acme",
            "integration_id": record["id"],
            "status": 200,
        }

    async def test_neither_tokens_nor_refused_values_are_logged(
        self, lines: list[structlog.typing.EventDict], hub: Hub
    ) -> None:
        api = hub.client()
        await api.post("/integrations", json=a_registration(authRefUri="canary-reference"))
        await api.post("/integrations", json=a_registration(config={"password": "canary-value"}))
        await api.post("/integrations", content='{"canary-broken', headers=_JSON)
        await api.get("/integrations?cursor=canary-cursor")
        await hub.client(authorization="Bearer canary.token.x").get("/integrations")

        logged = json.dumps(lines, default=str)

        assert len(lines) == 5
        assert "canary" not in logged
        assert hub.authority.token().split(".")[1][:40] not in logged


_JSON = {"Content-Type": "application/json"}


class TestProcess:
    def environment(self, **given: str) -> dict[str, str]:
        return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | given

    async def test_settings_that_are_missing_are_named(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "stella_api",
            "--check-settings",
            env=self.environment(STELLA_DATABASE_URL="postgresql://x", STELLA_CURSOR_KEY="short"),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()

        assert process.returncode == 78
        for name in ("AMQP_URL", "JWKS_URL", "ISSUER", "AUDIENCE"):
            assert f"STELLA_{name}:" in said.decode()
        assert "short" not in said.decode()

    async def test_it_serves_while_the_broker_is_away_and_stops_at_a_signal(
        self, database_url: str, authority: Authority
    ) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "stella_api",
            env=self.environment(
                STELLA_DATABASE_URL=database_url,
                STELLA_AMQP_URL="amqp://guest:guest@127.0.0.1:1/",
                STELLA_JWKS_URL=authority.url,
                STELLA_ISSUER="https://authority.test",
                STELLA_AUDIENCE="stella-integrations",
                STELLA_CURSOR_KEY="a key for tests, thirty-two characters",
                STELLA_PORT="0",
            ),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            port = 0
            async with asyncio.timeout(40):
                while not port:
                    line = json.loads(await process.stdout.readline())
                    port = line.get("port", 0) if line["event"] == "api_served" else 0
            headers = {"Authorization": f"Bearer {authority.token()}"}
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
                ready = await http.get("/readyz")
                listed = await http.get("/api/v1/integrations", headers=headers)

            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

        assert (ready.status_code, ready.json()["bus"]) == (200, "down")
        assert listed.json() == {"items": [], "nextCursor": None}
        assert process.returncode == 0
