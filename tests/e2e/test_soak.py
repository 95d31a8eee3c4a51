"""The soak of `make soak`, as small as it still says something."""

import pytest
from tests.soak.run import Plan, run
from tests.support.processes import System
from tests.support.rabbitmq import Server


@pytest.mark.timeout(400)
async def test_nothing_is_lost_or_counted_twice_while_processes_are_killed_at_random(
    system: System, database_url: str, amqp_url: str, rabbitmq_server: Server
) -> None:
    plan = Plan(integrations=300, seconds=20, factor=20, kill_every_seconds=3, rest_seconds=150)

    report = await run(plan, system, database_url, amqp_url, rabbitmq_server.management)

    assert report.account.is_clean, report.account
    assert report.account.slots >= 300 * 6
    assert report.account.outages == 60
    assert sum(report.kills.values()) >= 2
