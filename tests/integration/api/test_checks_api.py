"""Asking for a check, waiting for it, and reading what checks found."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest
from tests.support.api import ANY_VERSION, UNKNOWN_ID, Hub, assert_problem, places, registered
from tests.support.catalog import announced, outcome

from stella_contracts.health import ErrorCode, HealthResult
from stella_contracts.messages import Finished
from stella_health_worker.recording import record_outcomes
from stella_runtime.ids import new_id
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.topology import ON_DEMAND, REPLIES
from stella_runtime.persistence.scheduling import Target

HEALTHY = HealthResult.healthy()
DOWN = HealthResult.unhealthy(ErrorCode.TLS, "The certificate expired")


async def find(hub: Hub, check_id: str) -> Target | None:
    async with hub.database.system_transaction() as transaction:
        return await transaction.scheduling.find_requested(UUID(check_id))


async def finish(hub: Hub, check_id: str, result: HealthResult = HEALTHY) -> None:
    """Do what a worker does: store the result."""
    target = await find(hub, check_id)
    assert target is not None
    async with hub.database.system_transaction() as transaction:
        await record_outcomes(transaction, [outcome(target, result)], hub.metrics)


async def reply(hub: Hub, identifier: str, result: dict[str, Any] | None = None) -> None:
    """Do what a worker does last: tell who waits."""
    body = Finished(id=UUID(identifier), outcome=result).model_dump_json().encode()
    await hub.bus.publish(
        Message(id=str(new_id()), exchange=REPLIES, routing_key=identifier, body=body)
    )


async def commands(hub: Hub) -> list[dict[str, Any]]:
    """The commands that wait in the outbox."""
    return [
        orjson.loads(each.message.body)
        for each in await hub.database.claim(100)
        if each.message.routing_key == ON_DEMAND
    ]


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Wait until something is there, and return it."""
    async with asyncio.timeout(20):
        while True:
            found = await condition()
            if found:
                return found
            await asyncio.sleep(0.01)


async def pending_check(hub: Hub) -> str:
    """The id of the check that somebody has asked for."""

    async def look() -> str | None:
        found = await commands(hub)
        return found[0]["checkId"] if found else None

    return str(await until(look))


async def add_history(hub: Hub, integration: dict[str, Any], *moments: datetime) -> None:
    """Checks that were made at these times."""
    async with hub.database.transaction("acme") as owned:
        requested = await owned.check_requests.join_or_add(
            UUID(integration["id"]), requested_by="tests", timeout_seconds=5
        )
    target = await find(hub, str(requested.check_id))
    assert target is not None
    async with hub.database.system_transaction() as transaction:
        await transaction.scheduling.finish_requests([requested.check_id])
        await transaction.scheduling.add_history(
            [
                outcome(
                    Target(
                        **{
                            name: getattr(target, name)
                            for name in Target.__dataclass_fields__
                            if name != "check_id"
                        },
                        check_id=new_id(),
                    ),
                    HEALTHY,
                    checked_at=moment,
                    latency_ms=10 * (number + 1),
                )
                for number, moment in enumerate(moments)
            ]
        )


@pytest.fixture
async def integration(api: httpx.AsyncClient) -> dict[str, Any]:
    return await registered(api)


@pytest.fixture
def path(integration: dict[str, Any]) -> str:
    return f"/integrations/{integration['id']}"


class TestAsking:
    async def test_a_check_is_accepted_and_can_be_followed(
        self, hub: Hub, api: httpx.AsyncClient, path: str
    ) -> None:
        accepted = await api.post(f"{path}/health-check")
        status_url = accepted.json()["statusUrl"].removeprefix("/api/v1")
        pending = (await api.get(status_url)).json()
        await finish(hub, accepted.json()["checkId"], DOWN)
        finished = (await api.get(status_url)).json()

        assert accepted.status_code == 202
        assert (pending["state"], pending["trigger"]) == ("pending", "on_demand")
        assert finished["state"] == "finished"
        assert (finished["status"], finished["errorCode"]) == ("unhealthy", "tls")

    async def test_the_command_names_the_check_and_the_request(
        self, hub: Hub, api: httpx.AsyncClient, integration: dict[str, Any], path: str
    ) -> None:
        accepted = await api.post(f"{path}/health-check", headers={"X-Request-ID": "mine"})

        (command,) = await commands(hub)

        assert command == {
            "checkId": accepted.json()["checkId"],
            "integrationId": integration["id"],
            "tenantId": "acme",
            "trigger": "on_demand",
            "requestId": "mine",
        }

    async def test_a_second_call_joins_the_check_in_flight(
        self, hub: Hub, api: httpx.AsyncClient, path: str
    ) -> None:
        answers = await asyncio.gather(*(api.post(f"{path}/health-check") for _ in range(5)))

        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["checkId"] for answer in answers}) == 1
        assert len(await commands(hub)) == 1

    async def test_a_disabled_integration_is_not_checked(
        self, api: httpx.AsyncClient, path: str
    ) -> None:
        await api.put(path, json={"enabled": False}, headers=ANY_VERSION)

        assert_problem(await api.post(f"{path}/health-check"), 422, "integration_disabled")

    async def test_asking_is_audited(self, api: httpx.AsyncClient, path: str) -> None:
        check_id = (await api.post(f"{path}/health-check")).json()["checkId"]

        newest = (await api.get("/audit-logs")).json()["items"][0]

        assert newest["action"] == "integration.check_requested"
        assert newest["details"] == {"checkId": check_id}


class TestWaiting:
    async def test_the_result_is_answered_once_it_is_there(
        self, hub: Hub, api: httpx.AsyncClient, path: str
    ) -> None:
        call = asyncio.create_task(
            api.post(f"{path}/health-check", headers={"Prefer": "respond-async, wait=20"})
        )
        check_id = await pending_check(hub)
        await finish(hub, check_id, DOWN)
        await reply(hub, check_id)
        answer = await call

        assert answer.status_code == 200
        assert answer.headers["preference-applied"] == "wait=20"
        assert (answer.json()["checkId"], answer.json()["errorCode"]) == (check_id, "tls")

    async def test_a_reply_that_is_lost_costs_no_result(
        self, hub: Hub, api: httpx.AsyncClient, path: str
    ) -> None:
        call = asyncio.create_task(api.post(f"{path}/health-check", headers={"Prefer": "wait=20"}))
        await finish(hub, await pending_check(hub))

        assert (await call).json()["status"] == "healthy"

    async def test_all_who_wait_for_one_check_get_it(
        self, hub: Hub, api: httpx.AsyncClient, path: str
    ) -> None:
        calls = [
            asyncio.create_task(api.post(f"{path}/health-check", headers={"Prefer": "wait=20"}))
            for _ in range(5)
        ]
        check_id = await pending_check(hub)

        async def all_asked() -> bool:
            entries = (await api.get("/audit-logs")).json()["items"]
            asked = [each for each in entries if each["action"] == "integration.check_requested"]
            return len(asked) == 5

        await until(all_asked)
        await finish(hub, check_id)
        await reply(hub, check_id)

        answers = await asyncio.gather(*calls)
        assert {answer.json()["checkId"] for answer in answers} == {check_id}
        assert {answer.status_code for answer in answers} == {200}

    async def test_who_waited_in_vain_is_told_where_to_look(
        self, api: httpx.AsyncClient, path: str
    ) -> None:
        answer = await api.post(f"{path}/health-check", headers={"Prefer": "wait=1"})

        assert answer.status_code == 202
        assert answer.json()["statusUrl"].endswith(answer.json()["checkId"])
        assert "preference-applied" not in answer.headers

    async def test_nothing_of_the_database_is_held_while_waiting(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        """The pool of the tests has five connections."""
        paths = [f"/integrations/{(await registered(api))['id']}/health-check" for _ in range(8)]
        calls = [
            asyncio.create_task(api.post(each, headers={"Prefer": "wait=20"})) for each in paths
        ]

        check_ids: set[str] = set()

        async def all_asked() -> bool:
            check_ids.update(command["checkId"] for command in await commands(hub))
            return len(check_ids) == 8

        await until(all_asked)
        for check_id in check_ids:
            await finish(hub, check_id)
            await reply(hub, check_id)

        assert {answer.status_code for answer in await asyncio.gather(*calls)} == {200}

    @pytest.mark.parametrize("prefer", ["wait", "wait=soon", "wait=-5", "handling=lenient", ""])
    async def test_a_preference_that_says_nothing_is_passed_over(
        self, api: httpx.AsyncClient, path: str, prefer: str
    ) -> None:
        answer = await api.post(f"{path}/health-check", headers={"Prefer": prefer})

        assert answer.status_code == 202


class TestHealth:
    async def test_a_new_integration_is_unknown_and_due(
        self, api: httpx.AsyncClient, path: str
    ) -> None:
        health = (await api.get(f"{path}/health")).json()

        assert health["status"] == "unknown"
        assert (health["incident"], health["lastCheck"], health["lastHealthyAt"]) == (None,) * 3
        assert health["nextCheckAt"] is not None
        assert health["history"] == {"items": [], "nextCursor": None}

    async def test_an_outage_is_told_with_its_incident(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        path = f"/integrations/{(await registered(api, failureThreshold=1))['id']}"
        check_id = (await api.post(f"{path}/health-check")).json()["checkId"]
        await finish(hub, check_id, DOWN)

        health = (await api.get(f"{path}/health")).json()

        assert (health["status"], health["consecutiveFailures"]) == ("unhealthy", 1)
        assert health["incident"]["errorCode"] == "tls"
        assert health["lastCheck"]["checkId"] == check_id
        assert [each["checkId"] for each in health["history"]["items"]] == [check_id]

    @pytest.mark.parametrize("end", ["disabled", "removed"])
    async def test_an_outage_that_is_looked_at_no_more_is_resolved(
        self, hub: Hub, api: httpx.AsyncClient, end: str
    ) -> None:
        path = f"/integrations/{(await registered(api, failureThreshold=1))['id']}"
        await finish(hub, (await api.post(f"{path}/health-check")).json()["checkId"], DOWN)
        incident = (await api.get(f"{path}/health")).json()["incident"]
        await announced(hub.database)

        if end == "disabled":
            await api.put(path, json={"enabled": False}, headers=ANY_VERSION)
        else:
            await api.delete(path)

        events = {each.event: each.body["data"] for each in await announced(hub.database)}
        resolved = events["integration.alert.resolved"]
        assert resolved["incidentId"] == incident["id"]
        assert resolved["resolvedAt"] is not None

    async def test_history_is_paged_from_the_newest(
        self, hub: Hub, api: httpx.AsyncClient, integration: dict[str, Any], path: str
    ) -> None:
        now = datetime.now(UTC)
        await add_history(hub, integration, *(now - timedelta(minutes=n) for n in range(5)))

        found: list[int] = []
        query: dict[str, Any] = {"limit": 2}
        while True:
            history = (await api.get(f"{path}/health", params=query)).json()["history"]
            found += [each["latencyMs"] for each in history["items"]]
            if history["nextCursor"] is None:
                break
            query["cursor"] = history["nextCursor"]

        assert found == [10, 20, 30, 40, 50]

    async def test_a_span_narrows_history(
        self, hub: Hub, api: httpx.AsyncClient, integration: dict[str, Any], path: str
    ) -> None:
        now = datetime.now(UTC)
        await add_history(hub, integration, *(now - timedelta(minutes=n) for n in range(5)))
        query = {
            "from": (now - timedelta(minutes=3)).isoformat(),
            "to": (now - timedelta(minutes=1)).isoformat(),
        }

        history = (await api.get(f"{path}/health", params=query)).json()["history"]

        assert [each["latencyMs"] for each in history["items"]] == [30, 40]

    @pytest.mark.parametrize(("resolution", "counts"), [("hour", [2, 1]), ("day", [3])])
    async def test_history_is_summed_up(
        self,
        hub: Hub,
        api: httpx.AsyncClient,
        integration: dict[str, Any],
        path: str,
        resolution: str,
        counts: list[int],
    ) -> None:
        noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
        await add_history(
            hub, integration, noon - timedelta(hours=1), noon, noon + timedelta(minutes=59)
        )

        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {"resolution": resolution, "limit": 1}
        while True:
            history = (await api.get(f"{path}/health", params=query)).json()["history"]
            found += history["items"]
            if history["nextCursor"] is None:
                break
            query["cursor"] = history["nextCursor"]

        assert [each["checks"] for each in found] == counts
        assert [each["healthy"] for each in found] == counts
        assert found[0]["maxLatencyMs"] == 30

    async def test_a_cursor_of_one_resolution_is_none_of_another(
        self, hub: Hub, api: httpx.AsyncClient, integration: dict[str, Any], path: str
    ) -> None:
        now = datetime.now(UTC)
        await add_history(hub, integration, now, now - timedelta(minutes=1))
        history = (await api.get(f"{path}/health?limit=1")).json()["history"]

        answer = await api.get(
            f"{path}/health", params={"cursor": history["nextCursor"], "resolution": "hour"}
        )

        assert_problem(answer, 400, "malformed_cursor")

    async def test_a_resolution_that_there_is_not_is_named(
        self, api: httpx.AsyncClient, path: str
    ) -> None:
        answer = await api.get(f"{path}/health?resolution=minute")

        assert places(assert_problem(answer, 422, "invalid_request")) == ["resolution"]

    async def test_a_check_of_another_integration_is_not_found(
        self, hub: Hub, api: httpx.AsyncClient, path: str
    ) -> None:
        other = await registered(api)
        check_id = (await api.post(f"{path}/health-check")).json()["checkId"]

        for state in ("pending", "finished"):
            if state == "finished":
                await finish(hub, check_id)
            answer = await api.get(f"/integrations/{other['id']}/health-checks/{check_id}")

            assert_problem(answer, 404, "check_not_found")

    async def test_an_unknown_integration_has_no_health(self, api: httpx.AsyncClient) -> None:
        answer = await api.get(f"/integrations/{UNKNOWN_ID}/health")

        assert_problem(answer, 404, "integration_not_found")
