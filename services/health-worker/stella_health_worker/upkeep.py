"""What the scheduler does beside the schedule: gauges, and an end to what has served."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import structlog

from stella_contracts.errors import Unavailable
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database
from stella_runtime.telemetry.metrics import Metrics
from stella_runtime.telemetry.tenant_labels import Group

log = structlog.get_logger()

GAUGE_SECONDS = 5.0
TIDY_SECONDS = 3600.0
IDEMPOTENCY_KEYS_KEPT = timedelta(days=1)
MUTES_KEPT = timedelta(days=30)
"""After their end. Who muted what stays in the audit log."""


async def keep_gauges(database: Database, metrics: Metrics) -> None:
    """Measure the catalog, the schedule and the outbox, until cancelled."""
    while True:
        try:
            await measure(database, metrics)
        except Unavailable as error:
            log.warning("gauges_not_measured", reason=str(error))
        await asyncio.sleep(GAUGE_SECONDS)


async def measure(database: Database, metrics: Metrics) -> None:
    """Set every gauge to what the database says now."""
    async with database.system_transaction() as transaction:
        counts = await transaction.scheduling.count_groups()
        late = await transaction.scheduling.seconds_late()
        lag = await transaction.outbox.lag()
    groups: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for count in counts:
        groups[count.provider_type, count.tenant_id][count.status] = count.integrations
    metrics.groups(Group(key[0], key[1], statuses) for key, statuses in groups.items())
    metrics.schedule_lag(late)
    age = 0.0 if lag.oldest is None else (datetime.now(UTC) - lag.oldest).total_seconds()
    metrics.outbox(lag.messages, max(age, 0.0))


async def keep_tidy(
    database: Database, *, outbox_kept: timedelta, audit_kept: timedelta | None
) -> None:
    """Delete what has served, until cancelled. The history has its own end: see `history`."""
    while True:
        try:
            await tidy(database, outbox_kept=outbox_kept)
            if audit_kept is not None:
                await expire_audit_logs(database, audit_kept)
        except Unavailable as error:
            log.warning("not_tidied", reason=str(error))
        await asyncio.sleep(TIDY_SECONDS)


async def tidy(database: Database, *, outbox_kept: timedelta) -> None:
    """One round. Safe to run in several processes at once."""
    async with database.system_transaction() as transaction:
        await transaction.outbox.purge(outbox_kept)
        await transaction.scheduling.purge_idempotency_keys(IDEMPOTENCY_KEYS_KEPT)
        await transaction.alerts.purge_mutes(MUTES_KEPT)
    log.info("tidied")


async def expire_audit_logs(database: Database, kept: timedelta) -> None:
    """Drop entries that are older, and tell of it in each log. Many at a time, until none is."""
    expired = None
    while expired is None or expired:
        async with database.system_transaction() as transaction:
            expired = await transaction.audit_expiry.expire(kept)
            for each in expired:
                transaction.audit_logs(each.tenant_id).add(
                    "audit.expired",
                    actor="scheduler",
                    request_id=str(new_id()),
                    details={"entries": each.entries, "until": each.until, "days": kept.days},
                )
                log.info("audit_expired", tenant_id=each.tenant_id, entries=each.entries)
