"""What the scheduler and the workers ask of the schedule and the history, across tenants."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stella_contracts.health import (
    CheckTrigger,
    ErrorCode,
    HealthResult,
    HealthStatus,
    IntegrationStatus,
    Step,
)
from stella_contracts.integrations import Connection
from stella_contracts.messages import ScheduledCheck
from stella_runtime.persistence.base import JsonColumn
from stella_runtime.telemetry import tracing


@dataclass(frozen=True, slots=True)
class Target:
    """An integration that is to be checked, as it was when the check began."""

    check_id: UUID
    trigger: CheckTrigger
    integration_id: UUID
    tenant_id: str
    provider_type: str
    config: dict[str, Any]
    auth_ref_uri: str | None
    timeout_seconds: int
    version: int
    checks_before: int
    connection: Connection | None
    lease_token: int | None
    """The lease of a scheduled check; None for a requested one."""
    lease_seconds: float = math.inf
    """How long the lease still held when this was read."""
    read_at: datetime | None = None
    """When this was read, by the database's clock."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found."""

    target: Target
    result: HealthResult
    connection: Connection | None
    latency_ms: int
    steps: Sequence[Step]
    checked_at: datetime
    worker: str
    trace_headers: Mapping[str, str] = field(default_factory=tracing.carried)
    """The trace in which it was found, for the events that follow from it."""


@dataclass(frozen=True, slots=True)
class CredentialEnd:
    """When a credential stops working, as the provider told, and what was said of it."""

    expires_at: datetime
    within_days: int | None
    """How close it was, in the days at which it is said; None if it was far."""


@dataclass(frozen=True, slots=True)
class State:
    """What is stored of an integration, held until the transaction ends."""

    integration_id: UUID
    tenant_id: str
    version: int
    status: IntegrationStatus
    status_since: datetime
    failure_threshold: int
    success_threshold: int
    consecutive_failures: int
    consecutive_successes: int
    failing_since: datetime | None
    last_status: HealthStatus | None
    """What the check before found."""
    last_error_code: ErrorCode | None
    lease_token: int
    leased: bool
    missed_slots: int
    """Slots that have passed since the one that is leased."""
    period_seconds: float
    """From slot to slot."""
    result_changes: int
    status_changes: int
    flapping_since: datetime | None
    told_status: IntegrationStatus | None
    """The status that was announced last, if the present one is held back."""
    credential_end: CredentialEnd | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """An outcome that counts, and the state after it."""

    outcome: Outcome
    status: IntegrationStatus
    status_since: datetime
    consecutive_failures: int
    consecutive_successes: int
    failing_since: datetime | None
    recheck_seconds: float | None
    """When to look again, if not at the next slot."""
    pause_seconds: float | None
    """How long not to look again, whatever the slot says."""
    missed_slots: int
    result_changes: int
    status_changes: int
    flapping_since: datetime | None
    told_status: IntegrationStatus | None
    credential_end: CredentialEnd | None = None


@dataclass(frozen=True, slots=True)
class GroupCount:
    """How many integrations of a type and tenant have a status."""

    provider_type: str
    tenant_id: str
    status: IntegrationStatus
    integrations: int


_TARGET_COLUMNS = """
    i.id, i.tenant_id, i.type, i.config_json, i.auth_ref_uri, i.check_timeout_seconds, i.version,
    s.checks_done, s.connection, extract(epoch from s.next_check_at - now()) as lease_seconds,
    now() as read_at
"""

# A lease that was passed on, or a row that was paused or deleted since, gives no target.
_SCHEDULED_TARGETS = text(
    f"""
    select asked.check_id, s.lease_token, {_TARGET_COLUMNS}
    from unnest(cast(:integration_ids as uuid[]), cast(:check_ids as uuid[]),
                cast(:lease_tokens as bigint[])) as asked (integration_id, check_id, lease_token)
    join schedule_state s on s.integration_id = asked.integration_id
        and s.lease_token = asked.lease_token and s.slot_at is not null
    join integrations i on i.id = s.integration_id
    """
).columns(config_json=JsonColumn, connection=JsonColumn)
_REQUESTED_TARGET = text(
    f"""
    select r.check_id, null as lease_token, {_TARGET_COLUMNS}
    from check_requests r
    join integrations i on i.id = r.integration_id and i.enabled
    join schedule_state s on s.integration_id = i.id
    where r.check_id = :check_id
    """
).columns(config_json=JsonColumn, connection=JsonColumn)

_LOCK = text(
    """
    select s.integration_id, s.tenant_id, s.status_since, s.consecutive_failures,
        s.consecutive_successes, s.failing_since, s.last_check ->> 'status' as last_status,
        s.last_check ->> 'errorCode' as last_error_code,
        s.last_check #>> '{credentialEnd,expiresAt}' as credential_ends,
        s.last_check #>> '{credentialEnd,withinDays}' as credential_days, s.lease_token,
        s.slot_at is not null as leased, extract(epoch from now() - s.slot_at) as slot_age,
        extract(epoch from s.period) as period, s.result_changes, s.status_changes,
        s.flapping_since, s.told_status
    from schedule_state s where s.integration_id = any(cast(:ids as uuid[]))
    order by s.integration_id for update
    """
)
# Read after the lock, so that what an edit has just committed is seen.
_CATALOG = text(
    """
    select id, version, status, failure_threshold, success_threshold
    from integrations where id = any(cast(:ids as uuid[]))
    """
)
_FINISH_REQUESTS = text(
    "delete from check_requests where check_id = any(cast(:ids as uuid[])) returning check_id"
)
_ALREADY_STORED = text(
    """
    select check_id from health_checks
    where check_id = any(cast(:ids as uuid[]))
      and integration_id = any(cast(:integration_ids as uuid[]))
      and checked_at > now() - interval '1 day'
    """
)
_ADD_HISTORY = text(
    """
    insert into health_checks (check_id, tenant_id, integration_id, checked_at, status, latency_ms,
        error_message, error_code, trigger, steps, worker, integration_version)
    select check_id, tenant_id, integration_id, checked_at, status, latency_ms, error_message,
        error_code, trigger, steps, worker, integration_version
    from jsonb_to_recordset(cast(:rows as jsonb)) as r (check_id uuid, tenant_id text,
        integration_id uuid, checked_at timestamptz, status text, latency_ms integer,
        error_message text, error_code text, trigger text, steps jsonb, worker text,
        integration_version integer)
    """
)
_SAVE = text(
    """
    update schedule_state s set
        slot_at = case when v.scheduled then null else s.slot_at end,
        next_check_at = greatest(case
            when v.scheduled and v.recheck_seconds is not null
                then now() + v.recheck_seconds * interval '1 second'
            when v.scheduled then s.slot_at + s.period * (1 + greatest(0, floor(
                extract(epoch from now() - s.slot_at) / extract(epoch from s.period))))
            when s.slot_at is null and v.recheck_seconds is not null
                then least(s.next_check_at, now() + v.recheck_seconds * interval '1 second')
            else s.next_check_at end,
            case when s.next_check_at is not null
                then now() + v.pause_seconds * interval '1 second' end),
        checks_done = s.checks_done + 1,
        missed_slots = s.missed_slots + v.missed_slots,
        status_since = v.status_since,
        consecutive_failures = v.consecutive_failures,
        consecutive_successes = v.consecutive_successes,
        failing_since = v.failing_since,
        last_check = v.last_check,
        last_healthy_at = coalesce(v.healthy_at, s.last_healthy_at),
        connection = coalesce(v.connection, s.connection),
        result_changes = v.result_changes,
        status_changes = v.status_changes,
        flapping_since = v.flapping_since,
        told_status = v.told_status
    from jsonb_to_recordset(cast(:rows as jsonb)) as v (integration_id uuid, scheduled boolean,
        recheck_seconds double precision, pause_seconds double precision,
        status_since timestamptz, consecutive_failures integer, consecutive_successes integer,
        failing_since timestamptz, missed_slots bigint, last_check jsonb, healthy_at timestamptz,
        connection jsonb, result_changes integer, status_changes integer,
        flapping_since timestamptz, told_status text)
    where s.integration_id = v.integration_id
    """
)
_SET_STATUS = text("update integrations set status = :status where id = :id")
_GROUPS = text(
    """
    select type, tenant_id, status, count(*) from integrations
    where deleted_at is null group by type, tenant_id, status
    """
)
_LATE = text(
    "select extract(epoch from now() - min(next_check_at)) from schedule_state"
    " where next_check_at <= now()"
)
_PURGE_KEYS = text("delete from idempotency_keys where created_at < now() - cast(:age as interval)")


class Scheduling:
    """Loads what is to be checked, stores what was found."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def load_scheduled(self, checks: Sequence[ScheduledCheck]) -> Sequence[Target]:
        """What is to be checked, of the checks whose lease still holds."""
        rows = await self._session.execute(
            _SCHEDULED_TARGETS,
            {
                "integration_ids": [check.integration_id for check in checks],
                "check_ids": [check.check_id for check in checks],
                "lease_tokens": [check.lease_token for check in checks],
            },
        )
        return [_target(row, CheckTrigger.SCHEDULE) for row in rows]

    async def find_requested(self, check_id: UUID) -> Target | None:
        """What is to be checked, or None if the request was answered or withdrawn."""
        row = (await self._session.execute(_REQUESTED_TARGET, {"check_id": check_id})).one_or_none()
        return None if row is None else _target(row, CheckTrigger.ON_DEMAND)

    async def lock(self, integration_ids: Sequence[UUID]) -> dict[UUID, State]:
        """Read and hold the state of integrations, always in the order of their ids."""
        ids = sorted(set(integration_ids))
        held = (await self._session.execute(_LOCK, {"ids": ids})).all()
        catalog = {row.id: row for row in await self._session.execute(_CATALOG, {"ids": ids})}
        return {row.integration_id: _state(row, catalog[row.integration_id]) for row in held}

    async def finish_requests(self, check_ids: Sequence[UUID]) -> set[UUID]:
        """Take requests off the list, and say which were on it: the others were answered before."""
        if not check_ids:
            return set()
        rows = await self._session.execute(_FINISH_REQUESTS, {"ids": list(check_ids)})
        return {row.check_id for row in rows}

    async def already_stored(self, outcomes: Sequence[Outcome]) -> set[UUID]:
        """Which of these checks are in the history."""
        rows = await self._session.execute(
            _ALREADY_STORED,
            {
                "ids": [outcome.target.check_id for outcome in outcomes],
                "integration_ids": [outcome.target.integration_id for outcome in outcomes],
            },
        )
        return {row.check_id for row in rows}

    async def add_history(self, outcomes: Sequence[Outcome]) -> None:
        rows = [_history_row(outcome) for outcome in outcomes]
        await self._session.execute(_ADD_HISTORY, {"rows": _as_json(rows)})

    async def save(self, counted: Sequence[Counted]) -> None:
        """Store the state after outcomes: at most one for each integration."""
        rows = [_state_row(each) for each in counted]
        await self._session.execute(_SAVE, {"rows": _as_json(rows)})

    async def set_status(self, integration_id: UUID, status: IntegrationStatus) -> None:
        await self._session.execute(_SET_STATUS, {"id": integration_id, "status": status})

    async def count_groups(self) -> Sequence[GroupCount]:
        rows = await self._session.execute(_GROUPS)
        return [GroupCount(row[0], row[1], IntegrationStatus(row[2]), row[3]) for row in rows]

    async def seconds_late(self) -> float:
        """How long the check that is most overdue has been due."""
        return float(await self._session.scalar(_LATE) or 0)

    async def purge_idempotency_keys(self, age: timedelta) -> None:
        await self._session.execute(_PURGE_KEYS, {"age": age})


def _as_json(rows: Sequence[dict[str, Any]]) -> str:
    # `default`: the driver's UUIDs are a subclass, which orjson does not take by itself.
    return orjson.dumps(rows, default=str).decode()


def _target(row: Any, trigger: CheckTrigger) -> Target:
    return Target(
        check_id=row.check_id,
        trigger=trigger,
        integration_id=row.id,
        tenant_id=row.tenant_id,
        provider_type=row.type,
        config=row.config_json,
        auth_ref_uri=row.auth_ref_uri,
        timeout_seconds=row.check_timeout_seconds,
        version=row.version,
        checks_before=row.checks_done,
        connection=None if row.connection is None else Connection.model_validate(row.connection),
        lease_token=row.lease_token,
        lease_seconds=math.inf if row.lease_token is None else float(row.lease_seconds),
        read_at=row.read_at,
    )


def _state(held: Any, catalog: Any) -> State:
    return State(
        integration_id=held.integration_id,
        tenant_id=held.tenant_id,
        version=catalog.version,
        status=IntegrationStatus(catalog.status),
        status_since=held.status_since,
        failure_threshold=catalog.failure_threshold,
        success_threshold=catalog.success_threshold,
        consecutive_failures=held.consecutive_failures,
        consecutive_successes=held.consecutive_successes,
        failing_since=held.failing_since,
        last_status=None if held.last_status is None else HealthStatus(held.last_status),
        last_error_code=None if held.last_error_code is None else ErrorCode(held.last_error_code),
        lease_token=held.lease_token,
        leased=held.leased,
        period_seconds=float(held.period),
        missed_slots=max(0, int(held.slot_age // held.period)) if held.leased else 0,
        result_changes=held.result_changes,
        status_changes=held.status_changes,
        flapping_since=held.flapping_since,
        told_status=None if held.told_status is None else IntegrationStatus(held.told_status),
        credential_end=held.credential_ends and _credential_end(held),
    )


def _credential_end(held: Any) -> CredentialEnd:
    days = held.credential_days
    return CredentialEnd(
        datetime.fromisoformat(held.credential_ends), None if days is None else int(days)
    )


def _steps(outcome: Outcome) -> list[dict[str, Any]]:
    return [{"name": step.name, "result": step.result, "ms": step.ms} for step in outcome.steps]


def last_check(outcome: Outcome) -> dict[str, Any]:
    """
    The JSON of a FinishedCheck.

    Written by hand: building the model and dumping it, steps and all, is a tenth of a check.
    """
    return {
        "checkId": outcome.target.check_id,
        "integrationId": outcome.target.integration_id,
        "state": "finished",
        "trigger": outcome.target.trigger,
        "status": outcome.result.status,
        "errorCode": outcome.result.error_code,
        "errorMessage": outcome.result.error_message,
        "latencyMs": outcome.latency_ms,
        "checkedAt": outcome.checked_at,
        "steps": _steps(outcome),
    }


def _history_row(outcome: Outcome) -> dict[str, Any]:
    target = outcome.target
    return {
        "check_id": target.check_id,
        "tenant_id": target.tenant_id,
        "integration_id": target.integration_id,
        "checked_at": outcome.checked_at,
        "status": outcome.result.status,
        "latency_ms": outcome.latency_ms,
        "error_message": outcome.result.error_message,
        "error_code": outcome.result.error_code,
        "trigger": target.trigger,
        "steps": _steps(outcome),
        "worker": outcome.worker,
        "integration_version": target.version,
    }


def _state_row(counted: Counted) -> dict[str, Any]:
    outcome = counted.outcome
    is_healthy = outcome.result.status == "healthy"
    found = last_check(outcome)
    if (end := counted.credential_end) is not None:
        # Beside what clients are shown: it is only needed to say each thing once.
        found["credentialEnd"] = {"expiresAt": end.expires_at, "withinDays": end.within_days}
    return {
        "integration_id": outcome.target.integration_id,
        "scheduled": outcome.target.lease_token is not None,
        "recheck_seconds": counted.recheck_seconds,
        "pause_seconds": counted.pause_seconds,
        "status_since": counted.status_since,
        "consecutive_failures": counted.consecutive_failures,
        "consecutive_successes": counted.consecutive_successes,
        "failing_since": counted.failing_since,
        "missed_slots": counted.missed_slots,
        "last_check": found,
        "healthy_at": outcome.checked_at if is_healthy else None,
        "connection": outcome.connection and outcome.connection.model_dump(mode="json"),
        "result_changes": counted.result_changes,
        "status_changes": counted.status_changes,
        "flapping_since": counted.flapping_since,
        "told_status": counted.told_status,
    }
