"""Open alerts that are said again, where somebody wants that."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from pydantic import ValidationError
from tests.integration.health_worker.test_mutes import OUTAGE, mute
from tests.support.catalog import register
from tests.support.checking import WELL, names, play, told

from stella_health_worker.alerts import remind
from stella_health_worker.settings import HealthWorkerSettings
from stella_runtime.persistence import Database

HOUR = timedelta(hours=1)


def let_pass(database_url: str, time: timedelta) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "update incidents set announced_at = announced_at - %(time)s,"
            " reminded_at = reminded_at - %(time)s",
            {"time": time},
        )


async def test_an_open_alert_is_repeated_once_in_its_time_until_it_is_resolved(
    database: Database, database_url: str
) -> None:
    integration = await register(database)
    await play(database, integration.id, OUTAGE)
    await told(database)
    await remind(database, HOUR)
    assert names(await told(database)) == []

    for _ in range(2):
        let_pass(database_url, HOUR)
        await remind(database, HOUR)
        await remind(database, HOUR)
        [reminder] = await told(database)
        assert reminder.event == "integration.alert.reminder"
        assert reminder.body["subject"] == str(integration.id)

    await play(database, integration.id, [WELL, WELL])
    await told(database)
    let_pass(database_url, HOUR)
    await remind(database, HOUR)
    assert names(await told(database)) == []


async def test_a_muted_outage_is_not_repeated(database: Database, database_url: str) -> None:
    integration = await register(database)
    await play(database, integration.id, OUTAGE)
    await told(database)
    await mute(database)
    let_pass(database_url, HOUR)

    await remind(database, HOUR)

    assert names(await told(database)) == []


@pytest.mark.parametrize(("seconds", "is_taken"), [(0, True), (299, False), (300, True)])
def test_reminders_are_off_or_five_minutes_apart_at_least(seconds: int, is_taken: bool) -> None:
    given: dict[str, Any] = {
        "database_url": "x",
        "amqp_url": "x",
        "alert_reminder_seconds": seconds,
    }
    if is_taken:
        assert HealthWorkerSettings(**given).alert_reminder_seconds == seconds
    else:
        with pytest.raises(ValidationError, match="300"):
            HealthWorkerSettings(**given)
    del given["alert_reminder_seconds"]
    assert HealthWorkerSettings(**given).alert_reminder_seconds == 0
