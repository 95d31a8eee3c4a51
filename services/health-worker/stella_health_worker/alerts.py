"""What the scheduler does for alerts: those that were held back, and reminders."""

import asyncio
from datetime import timedelta

import structlog

from stella_contracts.errors import Unavailable
from stella_contracts.messages import EventType
from stella_health_worker.announcing import ANNOUNCE_LIMIT, SERVICE, announce_alerts
from stella_health_worker.hub_conditions import forget_the_gone
from stella_runtime.alerting import Alerting
from stella_runtime.persistence import Database

log = structlog.get_logger()

ROUND_SECONDS = 5.0


async def keep_alerts(database: Database, *, reminder_seconds: float) -> None:
    """Announce what may be told by now, until cancelled."""
    while True:
        try:
            await announce_held(database)
            await forget_the_gone(database)
            if reminder_seconds:
                await remind(database, timedelta(seconds=reminder_seconds))
        except Unavailable as error:
            log.warning("alerts_not_announced", reason=str(error))
        await asyncio.sleep(ROUND_SECONDS)


async def announce_held(database: Database) -> None:
    """Announce the outages that were muted, and are no more. Safe to run side by side."""
    looked_at = ANNOUNCE_LIMIT
    while looked_at >= ANNOUNCE_LIMIT:
        async with database.system_transaction() as transaction:
            looked_at = await announce_alerts(transaction)


async def remind(database: Database, every: timedelta) -> None:
    """Say again of each outage that it lasts, if it was last said so long ago."""
    async with database.system_transaction() as transaction:
        due = await transaction.alerts.list_reminders(every, limit=ANNOUNCE_LIMIT)
        alerting = Alerting(transaction.incidents, transaction.outbox, service=SERVICE)
        for each in due:
            alerting.tell(EventType.ALERT_REMINDER, each.incident, each.status, each.provider_type)
        await transaction.alerts.mark_reminded([each.incident.id for each in due])
