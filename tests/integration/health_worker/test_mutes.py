"""What a mute holds back, and what is told when it ends. Checks and history go on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from tests.support.catalog import TENANT, register
from tests.support.checking import REFUSED, WELL, check, names, play, told

from stella_contracts.mutes import Mute, MuteCreate
from stella_health_worker.alerts import announce_held
from stella_runtime.persistence import Database
from stella_runtime.persistence.health_checks import Span

OUTAGE = [WELL, REFUSED, REFUSED, REFUSED]


async def mute(database: Database, *, tenant: str = TENANT, **fields: Any) -> Mute:
    now = datetime.now(UTC)
    new = MuteCreate(**{"reason": "Upgrade", "ends_at": now + timedelta(hours=1)} | fields)
    async with database.transaction(tenant) as transaction:
        return await transaction.mutes.add(
            new, starts_at=new.starts_at or now, created_by="alice", created_at=now
        )


async def unmute(database: Database, mute: Mute) -> None:
    async with database.transaction(TENANT) as transaction:
        await transaction.mutes.delete(mute.id)


async def test_a_muted_outage_is_checked_kept_and_not_alerted(database: Database) -> None:
    integration = await register(database, tags=["eu"])
    await mute(database, tag="eu")

    await play(database, integration.id, [*OUTAGE, WELL, WELL])
    await announce_held(database)

    assert names(await told(database)) == ["health.changed"] * 3
    async with database.transaction(TENANT) as transaction:
        history = await transaction.health_checks.list_page(
            integration.id, Span(), limit=10, before=None
        )
    assert len(history) == 6


async def test_an_outage_that_outlasts_its_mute_is_alerted_once(
    database: Database, database_url: str
) -> None:
    integration = await register(database)
    await mute(database, integration_id=integration.id)
    await play(database, integration.id, OUTAGE)
    assert "alert.opened" not in names(await told(database))

    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update mutes set starts_at = now() - interval '2 hours', ends_at = now()"
        )
    await announce_held(database)
    await announce_held(database)
    await check(database, integration.id, finds=REFUSED)

    assert names(await told(database)) == ["alert.opened"]
    await play(database, integration.id, [WELL, WELL])
    assert names(await told(database)) == ["health.changed", "alert.resolved"]


async def test_an_outage_that_ended_under_its_mute_is_never_told(database: Database) -> None:
    integration = await register(database)
    made = await mute(database)
    await play(database, integration.id, [*OUTAGE, WELL, WELL])
    await told(database)

    await unmute(database, made)
    await announce_held(database)

    assert names(await told(database)) == []


async def test_what_was_alerted_before_the_mute_is_resolved_under_it(database: Database) -> None:
    integration = await register(database)
    await play(database, integration.id, OUTAGE)
    assert names(await told(database))[-1] == "alert.opened"
    await mute(database)

    await play(database, integration.id, [WELL, WELL])

    assert names(await told(database)) == ["health.changed", "alert.resolved"]


@pytest.mark.parametrize(
    ("tenant", "fields"),
    [
        pytest.param("globex", {}, id="of another tenant"),
        pytest.param(TENANT, {"tag": "us"}, id="of another tag"),
        pytest.param(
            TENANT,
            {"starts_at": datetime.now(UTC) + timedelta(minutes=50)},
            id="of the future",
        ),
    ],
)
async def test_a_mute_holds_back_no_other_alert(
    database: Database, tenant: str, fields: dict[str, Any]
) -> None:
    integration = await register(database, tags=["eu"])
    await mute(database, tenant=tenant, **fields)

    await play(database, integration.id, OUTAGE)

    assert names(await told(database))[-1] == "alert.opened"


async def test_outages_that_were_held_back_are_told_by_one_of_two_that_look(
    database: Database,
) -> None:
    integrations = [await register(database) for _ in range(3)]
    made = await mute(database)
    for result in OUTAGE:
        await check(database, *(each.id for each in integrations), finds=result)
    await told(database)
    await unmute(database, made)

    async with database.system_transaction() as first:
        ready = await first.alerts.list_ready(None, limit=2)
        await announce_held(database)
        await first.alerts.mark_announced([each.incident.id for each in ready])

    assert len(ready) == 2
    assert names(await told(database)) == ["alert.opened"]
