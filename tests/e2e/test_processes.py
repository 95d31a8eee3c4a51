"""Processes are killed, or stand still, at every step of a check: nothing lost, nothing twice."""

import asyncio
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb
from tests.support.processes import System
from tests.support.story import ALL, Story, told
from tests.support.subscriber import OPENED, RESOLVED, Subscriber, eventually, subscribed

CHANGED = "integration.health.changed"

# Up to twenty processes are started, one after another.
pytestmark = pytest.mark.timeout(400)


def rows(database_url: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query, values).fetchall()


def assert_each_slot_counts_once(database_url: str) -> None:
    [(checks, different, counted)] = rows(
        database_url,
        "select count(*), count(distinct check_id),"
        " (select sum(checks_done) from schedule_state) from health_checks",
    )
    assert checks == different == counted


def changes(subscriber: Subscriber) -> list[tuple[str, str]]:
    return [
        (each["data"]["previousStatus"], each["data"]["status"]) for each in subscriber.of(CHANGED)
    ]


AN_OUTAGE = [("unknown", "healthy"), ("healthy", "unhealthy"), ("unhealthy", "healthy")]


async def pull_every_plug(system: System) -> None:
    await asyncio.gather(*(system.kill(name) for name in ALL))


async def is_in_flight(story: Story) -> None:
    """Let a check be due, and wait until the tool was asked and has not answered."""
    story.harbor.state = "hang"
    asked = story.harbor.requests
    story.let_time_pass()
    await eventually(lambda: story.harbor.requests > asked)


async def test_pulling_every_plug_at_each_step_loses_nothing_and_tells_nothing_twice(
    system: System, database_url: str, amqp_url: str
) -> None:
    await system.start(*ALL)
    async with told(system, database_url) as story, subscribed(amqp_url) as subscriber:
        await story.register()
        await pull_every_plug(system)
        await system.start(*ALL)
        await story.has_checks(1)

        await is_in_flight(story)
        await pull_every_plug(system)
        story.harbor.state = "error"
        await system.start(*ALL)
        await story.has_checks(2)

        story.let_time_pass()
        status = "select status from integrations"
        await eventually(lambda: rows(database_url, status) == [("unhealthy",)], seconds=60)
        await pull_every_plug(system)
        story.harbor.state = "healthy"
        # It recovers while nobody is there to see it.
        await system.start(*ALL)
        await eventually(lambda: subscriber.alerts() == [OPENED], seconds=60)

        await is_in_flight(story)
        await pull_every_plug(system)
        story.harbor.state = "healthy"
        await system.start(*ALL)
        await story.has_checks(4)
        await story.scheduled_check()
        await story.reaches("healthy")
        await eventually(lambda: subscriber.alerts() == [OPENED, RESOLVED])

    assert changes(subscriber) == AN_OUTAGE
    assert_each_slot_counts_once(database_url)


@pytest.mark.parametrize("victim", ALL)
async def test_a_service_that_stands_still_and_goes_on_has_missed_and_repeated_nothing(
    system: System, database_url: str, amqp_url: str, victim: str
) -> None:
    other = f"{victim}-2"
    await system.start(*ALL, *(["api-2"] if victim == "api" else []))
    teller = "api-2" if victim == "api" else "api"
    async with (
        told(system, database_url, service=teller) as story,
        subscribed(amqp_url) as subscriber,
    ):
        await story.register()
        await story.reaches("healthy")
        seen = await story.checks()
        await is_in_flight(story)
        with system.frozen(victim):
            story.harbor.state = "error"
            if other not in system.services:
                await system.start(other)
            await story.has_checks(seen + 1)
            await story.scheduled_check()
            await story.reaches("unhealthy")
            await eventually(lambda: subscriber.alerts() == [OPENED])
        if victim == "worker":
            # It goes on with a check that another one has finished long ago.
            await eventually(lambda: stale_results(system.services[victim].url) >= 1)
        story.harbor.state = "healthy"
        await story.scheduled_check()
        await story.scheduled_check()
        await story.reaches("healthy")
        await eventually(lambda: subscriber.alerts() == [OPENED, RESOLVED])

    assert changes(subscriber) == AN_OUTAGE
    assert_each_slot_counts_once(database_url)


def stale_results(url: str) -> float:
    page = httpx.get(f"{url}/metrics", timeout=10).text
    lines = [line for line in page.splitlines() if line.startswith("integration_stale_results_tot")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


CHECKS = 2000
REGISTER = """
with added as (
    insert into integrations (id, tenant_id, type, name, config_json, check_interval_seconds,
        check_timeout_seconds)
    select gen_random_uuid(), 'tenant-' || n %% 20, 'in-memory', 'tool-' || n, %s, 86400, 5
    from generate_series(1, %s) n returning id, tenant_id)
insert into schedule_state (integration_id, tenant_id, next_check_at)
select id, tenant_id, now() from added
"""
FINISHED = "select count(*) from schedule_state where checks_done > 0"


async def test_hundreds_of_checks_that_a_killed_worker_had_taken_are_counted_once(
    system: System, database_url: str, amqp_url: str
) -> None:
    await system.start("discovery", "worker", "scheduler")
    async with subscribed(amqp_url) as subscriber:
        with psycopg.connect(database_url) as connection:
            # So quick that they stay with their message, and so many that the worker's hands
            # are full: of 50 checks each, it takes as many messages as it may.
            connection.execute(REGISTER, [Jsonb({"latencyMs": 200}), CHECKS])
        await eventually(lambda: rows(database_url, FINISHED)[0][0] >= 200, seconds=60)
        await system.kill("worker")
        [(finished,)] = rows(database_url, FINISHED)
        assert finished <= CHECKS - 500

        await system.start("worker")
        await eventually(lambda: rows(database_url, FINISHED) == [(CHECKS,)], seconds=90)
        await eventually(lambda: len(subscriber.of(CHANGED)) == CHECKS)

    assert_each_slot_counts_once(database_url)
    assert len({each["subject"] for each in subscriber.of(CHANGED)}) == CHECKS


EVERYTHING_WRITTEN = """
select (select count(*) from integrations), (select count(*) from audit_logs),
    (select count(*) from outbox), (select count(*) from idempotency_keys)
"""


CONNECTED = """
select 1 from pg_stat_activity
where application_name = 'stella-api' and datname = current_database()
"""
WAITING = CONNECTED + " and wait_event_type = 'Lock'"


async def test_a_registration_that_is_killed_before_its_commit_never_was_and_may_be_repeated(
    system: System, database_url: str
) -> None:
    await system.start("discovery", "api")
    body = {"type": "in-memory", "name": "tool", "config": {}}
    headers = {"Idempotency-Key": "once"}
    before = rows(database_url, EVERYTHING_WRITTEN)
    async with system.client() as http:
        with psycopg.connect(database_url) as blocker:
            # The integration is inserted, and its entry in the audit log has to wait.
            blocker.execute("lock table audit_logs in share mode")
            request = asyncio.create_task(http.post("/integrations", json=body, headers=headers))
            await eventually(lambda: bool(rows(database_url, WAITING)))
            await system.kill("api")
            with pytest.raises(httpx.TransportError):
                await request
        await eventually(lambda: not rows(database_url, CONNECTED))
        after = rows(database_url, EVERYTHING_WRITTEN)

        await system.start("api")
        answers = [await http.post("/integrations", json=body, headers=headers) for _ in range(2)]

    assert after == before
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert rows(database_url, "select count(*) from integrations") == [(1,)]
    created = "select count(*) from audit_logs where action = 'integration.created'"
    assert rows(database_url, created) == [(1,)]
