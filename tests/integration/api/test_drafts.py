"""A draft: checked by a worker, stored nowhere, and no way to a secret of something registered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import TypeAdapter
from tests.support.api import Hub, assert_problem, audited, places, registered
from tests.support.builders import a_config, a_registration

from stella_contracts.health import ErrorCode, HealthResult, Step, StepResult
from stella_health_worker.clock import DatabaseClock
from stella_health_worker.handlers import AskedCheck, Tools, run_asked_check
from stella_runtime.messaging.bus import Delivery
from stella_runtime.messaging.topology import ON_DEMAND
from stella_runtime.persistence.scheduling import Outcome, Target

ROBOT = "authref://vault/ci/harbor#robot"
ADMIN = "authref://vault/ci/harbor#admin"
OTHER = "authref://vault/ci/other"
EVIL = a_config(endpoint="https://evil.test")


class Prober:
    """Finds that the certificate has expired."""

    def __init__(self) -> None:
        self.asked: list[Target] = []

    async def probe(self, target: Target) -> Outcome:
        self.asked.append(target)
        return Outcome(
            target=target,
            result=HealthResult.unhealthy(ErrorCode.TLS, "certificate expired 3 days ago"),
            connection=None,
            latency_ms=41,
            steps=[Step(name="tls", result=StepResult.FAILED, ms=9)],
            checked_at=datetime.now(UTC),
            worker="one",
        )


class NoLanes:
    """A draft has no place in them."""

    async def run(self, targets: object, *, slow: bool) -> None:
        raise AssertionError

    async def run_now(self, target: Target) -> None:
        raise AssertionError


@pytest.fixture
async def prober(hub: Hub) -> AsyncIterator[Prober]:
    """A worker that takes what is asked for."""
    prober = Prober()
    async with a_worker(hub, prober):
        yield prober


@asynccontextmanager
async def a_worker(hub: Hub, prober: Prober) -> AsyncIterator[None]:
    tools = Tools(hub.database, NoLanes(), hub.bus, DatabaseClock(), prober)

    async def handle(delivery: Delivery) -> None:
        await run_asked_check(TypeAdapter(AskedCheck).validate_json(delivery.body), tools)

    async with hub.bus.consume(ON_DEMAND, handle, prefetch=1):
        yield


def a_draft(**fields: Any) -> dict[str, Any]:
    body = a_registration(**fields)
    del body["name"]
    return body


async def test_a_draft_is_checked_and_answered_with_its_steps(
    api: httpx.AsyncClient, prober: Prober
) -> None:
    answer = await api.post(
        "/integrations/test", json=a_draft(authRefUri=OTHER, checkTimeoutSeconds=5)
    )

    assert answer.status_code == 200, answer.text
    (target,) = prober.asked
    found = answer.json()
    assert (found["status"], found["errorCode"], found["trigger"], found["state"]) == (
        *("unhealthy", "tls", "draft", "finished"),
    )
    assert found["steps"] == [{"name": "tls", "result": "failed", "ms": 9}]
    assert (found["checkId"], found["integrationId"]) == (str(target.check_id), None)
    assert (target.config, target.auth_ref_uri, target.timeout_seconds) == (a_config(), OTHER, 5)


async def test_nothing_of_it_is_stored_but_that_it_was_tested(
    hub: Hub, api: httpx.AsyncClient, prober: Prober, database_url: str
) -> None:
    await api.post("/integrations/test", json=a_draft(description="canary-4711"))

    ((action, details),) = await audited(api)
    assert (action, details["endpoint"]) == (
        *("integration.draft_tested", "https://registry.test"),
    )
    assert (await api.get("/integrations")).json()["items"] == []
    with psycopg.connect(database_url) as connection:
        for table in ("integrations", "health_checks", "check_requests", "outbox"):
            assert connection.execute(f"select * from {table}").fetchall() == []


async def test_without_a_worker_it_says_so(api: httpx.AsyncClient) -> None:
    answer = await api.post("/integrations/test", json=a_draft(), headers={"Prefer": "wait=1"})

    assert_problem(answer, 503, "draft_unanswered")


async def test_one_that_nobody_waits_for_any_more_is_not_run(
    hub: Hub, api: httpx.AsyncClient
) -> None:
    await api.post("/integrations/test", json=a_draft(), headers={"Prefer": "wait=1"})
    prober = Prober()

    async with a_worker(hub, prober):
        answer = await api.post("/integrations/test", json=a_draft())

    assert answer.status_code == 200
    assert [str(each.check_id) for each in prober.asked] == [answer.json()["checkId"]]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"config": a_config(project=1)}, "/config/project"),
        ({"config": a_config(project="ghp_" + "a" * 36)}, "/config/project"),
        ({"type": "mainframe"}, "/type"),
    ],
)
async def test_what_could_not_be_registered_is_not_checked(
    api: httpx.AsyncClient, prober: Prober, fields: dict[str, Any], place: str
) -> None:
    answer = await api.post("/integrations/test", json=a_draft(**fields))

    assert answer.status_code == 422
    assert places(answer.json()) == [place]
    assert prober.asked == []


class TestSecretsOfWhatIsRegistered:
    """No draft can send one elsewhere."""

    @pytest.mark.parametrize("reference", [ROBOT, ADMIN, "authref://vault/ci/harbor"])
    async def test_it_goes_to_no_other_host(
        self, api: httpx.AsyncClient, prober: Prober, reference: str
    ) -> None:
        await registered(api, authRefUri=ROBOT, enabled=False)

        answer = await api.post(
            "/integrations/test", json=a_draft(config=EVIL, authRefUri=reference)
        )

        assert places(assert_problem(answer, 422, "config_rejected")) == ["/authRefUri"]
        assert prober.asked == []

    @pytest.mark.parametrize(
        "endpoint",
        ["http://registry.test", "https://registry.test:8443", "https://registry.test@evil.test"],
    )
    async def test_nor_to_another_port_or_in_the_clear(
        self, api: httpx.AsyncClient, prober: Prober, endpoint: str
    ) -> None:
        await registered(api, authRefUri=ROBOT)
        config = a_config(endpoint=endpoint)

        answer = await api.post("/integrations/test", json=a_draft(config=config, authRefUri=ROBOT))

        assert answer.status_code == 422
        assert prober.asked == []

    async def test_nor_to_its_host_by_another_plugin_with_hosts_of_its_own(
        self, hub: Hub, api: httpx.AsyncClient, prober: Prober
    ) -> None:
        await hub.put_plugins("mirror")
        await registered(api, authRefUri=ROBOT)

        answer = await api.post("/integrations/test", json=a_draft(type="mirror", authRefUri=ROBOT))

        assert_problem(answer, 422, "config_rejected")

    async def test_the_key_of_a_webhook_goes_nowhere(
        self, api: httpx.AsyncClient, prober: Prober
    ) -> None:
        webhook = {"url": "https://receiver.test/in", "authRefUri": OTHER}
        (await api.post("/webhooks", json=webhook)).raise_for_status()

        answer = await api.post("/integrations/test", json=a_draft(authRefUri=OTHER))

        assert_problem(answer, 422, "config_rejected")

    async def test_it_may_go_where_it_goes_already(
        self, api: httpx.AsyncClient, prober: Prober
    ) -> None:
        await registered(api, authRefUri=ROBOT, config=EVIL)
        await registered(api, authRefUri=ROBOT)
        config = a_config(endpoint="https://registry.test/below", project="another")

        answer = await api.post("/integrations/test", json=a_draft(config=config, authRefUri=ADMIN))

        assert answer.status_code == 200

    async def test_what_another_tenant_has_registered_tells_nothing(
        self, hub: Hub, api: httpx.AsyncClient, prober: Prober
    ) -> None:
        await registered(hub.client(tenant="globex"), authRefUri=ROBOT)

        answer = await api.post("/integrations/test", json=a_draft(config=EVIL, authRefUri=ROBOT))

        assert answer.status_code == 200


async def test_drafts_at_once_get_each_its_own(api: httpx.AsyncClient, prober: Prober) -> None:
    answers = await asyncio.gather(
        *(api.post("/integrations/test", json=a_draft()) for _ in range(10))
    )

    assert len({answer.json()["checkId"] for answer in answers}) == 10
