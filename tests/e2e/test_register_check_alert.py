"""The page in ARCHITECTURE.md, executed: three services as processes, on RabbitMQ."""

import psycopg
import pytest
from tests.support.processes import System
from tests.support.story import ALL, told
from tests.support.subscriber import OPENED, RESOLVED, eventually, subscribed


async def test_an_outage_is_seen_and_its_end_and_deletion_stops_checks(
    system: System, database_url: str, amqp_url: str
) -> None:
    await system.start(*ALL)
    async with told(system, database_url) as story, subscribed(amqp_url) as subscriber:
        await story.register()
        await story.reaches("healthy")

        story.harbor.state = "error"
        await story.scheduled_check()
        await story.scheduled_check()
        await story.reaches("unhealthy")
        await eventually(lambda: subscriber.alerts() == [OPENED])
        story.harbor.state = "healthy"
        await story.scheduled_check()
        await story.scheduled_check()
        await story.reaches("healthy")
        await eventually(lambda: subscriber.alerts() == [OPENED, RESOLVED])

        [opened, resolved] = subscriber.of(OPENED, RESOLVED)
        assert opened["data"]["incidentId"] == resolved["data"]["incidentId"]
        assert opened["data"]["errorCode"] == "remote_error"
        assert opened["subject"] == story.integration_id
        assert opened["tenantid"] == "acme"

        deleted = await story.http.delete(f"/integrations/{story.integration_id}")
        assert deleted.status_code == 204
        await eventually(lambda: len(subscriber.of("integration.deleted")) == 1)
        asked_before = story.harbor.requests
        story.let_time_pass()
        audit = (await story.http.get("/audit-logs")).json()["items"]

    assert story.harbor.requests == asked_before
    assert [entry["action"] for entry in audit] == ["integration.deleted", "integration.created"]
    with psycopg.connect(database_url) as connection:
        due = connection.execute(
            "select count(*) from schedule_state where next_check_at is not null"
        ).fetchone()
    assert due == (0,)


@pytest.mark.parametrize("victim", ALL)
async def test_killing_a_service_loses_no_event_and_no_result(
    system: System, database_url: str, amqp_url: str, victim: str
) -> None:
    await system.start(*ALL)
    async with told(system, database_url) as story, subscribed(amqp_url) as subscriber:
        await story.register()
        await story.reaches("healthy")
        story.harbor.state = "error"
        checks_before = await story.checks()

        for _ in range(2):
            story.let_time_pass()
            await system.kill(victim)
            await system.start(victim)
            await story.scheduled_check()
        await story.reaches("unhealthy")
        story.harbor.state = "healthy"
        story.let_time_pass()
        await system.kill(victim)
        await system.start(victim)
        await story.scheduled_check()
        await story.scheduled_check()
        await story.reaches("healthy")
        await eventually(lambda: subscriber.alerts() == [OPENED, RESOLVED])

    assert await _history(database_url) >= checks_before + 4
    changes = [
        (each["data"]["previousStatus"], each["data"]["status"])
        for each in subscriber.of("integration.health.changed")
    ]
    assert changes == [
        ("unknown", "healthy"),
        ("healthy", "unhealthy"),
        ("unhealthy", "healthy"),
    ]


async def _history(database_url: str) -> int:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        cursor = await connection.execute(
            "select count(*), count(distinct check_id) from health_checks"
        )
        [count, distinct] = await cursor.fetchone() or (0, 0)
    assert count == distinct
    return int(count)


async def test_a_stopped_worker_finishes_what_it_has_begun(
    system: System, database_url: str, amqp_url: str
) -> None:
    await system.start(*ALL)
    async with told(system, database_url) as story, subscribed(amqp_url):
        await story.register()
        await story.reaches("healthy")
        before = await story.checks()
        story.harbor.state = "slow"
        asked_before = story.harbor.requests
        story.let_time_pass()
        await eventually(lambda: story.harbor.requests > asked_before)

        code = await system.stop("worker")

        assert code == 0
        assert await story.checks() == before + 1
