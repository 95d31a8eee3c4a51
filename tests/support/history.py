"""Checks of any time in the history, as somebody else would store them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import psycopg
import pytest

from stella_contracts.health import Rollup
from stella_health_worker.history import look_after
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database
from stella_runtime.persistence.health_checks import Span
from stella_runtime.persistence.history_partitions import (
    CHECKS,
    DAYS,
    HOURS,
    TRANSITIONS,
    PartitionedTable,
)
from stella_runtime.telemetry.metrics import Metrics
from tests.support.catalog import TENANT

KEPT = {
    CHECKS: timedelta(days=30),
    HOURS: timedelta(days=400),
    DAYS: timedelta(days=1100),
    TRANSITIONS: timedelta(days=1100),
}


@dataclass(frozen=True, slots=True)
class Stored:
    """One check in the history."""

    checked_at: datetime
    integration_id: UUID = field(default_factory=new_id)
    tenant_id: str = TENANT
    status: str = "healthy"
    latency_ms: int = 5


@pytest.fixture
def sql(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of somebody else's, whose every statement is a transaction."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def add_checks(sql: psycopg.Connection[Any], *checks: Stored) -> None:
    with sql.cursor() as cursor:
        cursor.executemany(
            "insert into health_checks (check_id, tenant_id, integration_id, checked_at, status,"
            " latency_ms, trigger, worker, integration_version)"
            " values (%s, %s, %s, %s, %s, %s, 'schedule', 'w', 1)",
            [
                (
                    new_id(),
                    each.tenant_id,
                    each.integration_id,
                    each.checked_at,
                    each.status,
                    each.latency_ms,
                )
                for each in checks
            ],
        )


def set_rolled_until(sql: psycopg.Connection[Any], moment: datetime) -> None:
    sql.execute("update history_progress set rolled_until = date_trunc('hour', %s)", [moment])


async def one_round(database: Database, **kept: timedelta) -> dict[str, float]:
    """What a scheduler does; `kept` are ages by table. Returns the gauges of the history."""
    metrics = Metrics()
    ages: dict[PartitionedTable, timedelta] = {
        table: kept.get(table.name, age) for table, age in KEPT.items()
    }
    await look_after(database, ages, metrics)
    return gauges(metrics)


def gauges(metrics: Metrics) -> dict[str, float]:
    """Those of the history, by name."""
    lines = metrics.exposition().decode().splitlines()
    pairs = (line.split() for line in lines if line.startswith("integration_history"))
    return {name: float(value) for name, value in pairs}


async def read_rollups(
    database: Database,
    tenant_id: str,
    integration_id: UUID,
    unit: Literal["hour", "day"],
    *,
    limit: int = 7,
) -> list[Rollup]:
    """Every roll-up, page by page."""
    found: list[Rollup] = []
    before: datetime | None = None
    while True:
        async with database.transaction(tenant_id) as transaction:
            page = await transaction.rollups.list_page(
                integration_id, Span(), unit=unit, limit=limit, before=before
            )
        found += page
        if len(page) < limit:
            return found
        before = page[-1].starting_at


def aggregate(checks: list[Stored], unit: Literal["hour", "day"]) -> list[Rollup]:
    """What the roll-ups of some checks are by definition, newest first."""
    periods: dict[datetime, list[Stored]] = {}
    for check in checks:
        begin = check.checked_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        periods.setdefault(begin.replace(hour=0) if unit == "day" else begin, []).append(check)
    return [
        Rollup(
            starting_at=begin,
            checks=len(within),
            **{
                status: sum(check.status == status for check in within)
                for status in ("healthy", "degraded", "unhealthy", "unknown")
            },
            average_latency_ms=sum(check.latency_ms for check in within) / len(within),
            max_latency_ms=max(check.latency_ms for check in within),
        )
        for begin, within in sorted(periods.items(), reverse=True)
    ]
