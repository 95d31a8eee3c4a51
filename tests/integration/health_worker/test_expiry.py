"""What subscribers are told of a credential that ends."""

from datetime import UTC, datetime, timedelta

from tests.support.catalog import register
from tests.support.checking import REFUSED, WELL, check, names, play, told

from stella_contracts.health import HealthResult
from stella_health_worker.expiry import warned
from stella_runtime.persistence import Database

PREFIX = "integration.credential."


async def test_each_stage_is_told_once_whatever_happens_in_between(database: Database) -> None:
    integration = await register(database)
    now = datetime.now(UTC)
    far, soon = now + timedelta(days=40), now + timedelta(days=20)

    await check(database, integration.id, finds=HealthResult.healthy(credential_expires_at=far))
    assert await told(database, PREFIX) == []
    ending = warned(HealthResult.healthy(credential_expires_at=soon), now)
    await play(database, integration.id, [ending, ending, REFUSED, ending])
    first = await told(database, PREFIX)
    sooner = now + timedelta(days=2)
    last = warned(HealthResult.healthy(credential_expires_at=sooner), now)
    await play(database, integration.id, [last, last])
    second = await told(database, PREFIX)
    renewed = HealthResult.healthy(credential_expires_at=now + timedelta(days=365))
    await play(database, integration.id, [renewed, WELL])

    assert names(first) == names(second) == ["credential.expiring"]
    assert [each.body["data"]["withinDays"] for each in (*first, *second)] == [30, 3]
    assert first[0].body["subject"] == str(integration.id)
    assert await told(database, PREFIX) == []
