"""One incident an outage: across restarts, lost commits, and a recovery that nobody saw."""

from contextlib import suppress

import psycopg
from tests.support.catalog import claim, make_due, outcome, register
from tests.support.checking import REFUSED, WELL, check, names, play, record, told

from stella_health_worker.recording import record_outcomes
from stella_runtime.persistence import Database, open_engine
from stella_runtime.telemetry.metrics import Metrics


class Killed(Exception):
    pass


async def test_a_worker_that_is_killed_before_its_commit_tells_nothing_and_the_next_one_once(
    database: Database,
) -> None:
    integration = await register(database, failure_threshold=1)
    [target] = await claim(database)
    found = outcome(target, REFUSED)
    with suppress(Killed):
        async with database.system_transaction() as transaction:
            await record_outcomes(transaction, [found], Metrics())
            raise Killed
    assert await told(database) == []

    await record(database, found)
    await record(database, found)

    assert names(await told(database)) == ["health.changed", "alert.opened"]
    assert integration.id == found.target.integration_id


async def test_a_recovery_while_we_were_down_is_resolved_once(
    database: Database, database_url: str
) -> None:
    integration = await register(database)
    await play(database, integration.id, [WELL, REFUSED, REFUSED, REFUSED])
    assert names(await told(database))[-1] == "alert.opened"
    with psycopg.connect(database_url) as connection:
        connection.execute("update schedule_state set next_check_at = now() - interval '1 hour'")

    restarted = Database(open_engine(database_url, pool_size=2, application="tests"))
    for _ in range(3):
        await check(restarted, integration.id, finds=WELL)

    assert names(await told(restarted)) == ["health.changed", "alert.resolved"]
    await restarted.close()


async def test_an_outage_goes_on_across_a_restart_without_a_second_alert(
    database: Database, database_url: str
) -> None:
    integration = await register(database)
    await play(database, integration.id, [WELL, REFUSED, REFUSED])
    restarted = Database(open_engine(database_url, pool_size=2, application="tests"))

    await play(restarted, integration.id, [REFUSED, REFUSED])
    await make_due(restarted, integration.id)
    await play(database, integration.id, [REFUSED])

    assert names(await told(restarted, "integration.alert")) == ["alert.opened"]
    await restarted.close()
