"""What an outcome means for an integration: status, streaks, incident, next look. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from stella_contracts.health import ErrorCode, HealthResult, HealthStatus, IntegrationStatus

DOUBT_SECONDS = 30.0
"""While failures are fewer than the threshold, or successes after an outage, look again soon."""

AUTH_REJECTIONS = 2
"""So many rejections in a row, each with a freshly resolved secret, are an outage at once."""


_OURS = frozenset(
    {ErrorCode.DNS, ErrorCode.CONNECT, ErrorCode.TIMEOUT, ErrorCode.SECRET_UNRESOLVABLE}
)
"""Unknown with one of these, it is our own failure: see `own_health.py`."""


class IncidentStep(Enum):
    """What happens to the incident of an integration."""

    NONE = "none"
    OPEN = "open"
    UPDATE = "update"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True)
class Standing:
    """How an integration stands before an outcome."""

    status: IntegrationStatus
    failures: int
    successes: int
    failing_since: datetime | None
    last_error_code: ErrorCode | None
    failure_threshold: int
    success_threshold: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it stands after it."""

    status: IntegrationStatus
    failures: int
    successes: int
    failing_since: datetime | None
    recheck_seconds: float | None
    """When to look again, or None for the next slot."""
    incident: IncidentStep
    pause_seconds: float | None = None
    """How long the provider asks us to stay away: the next slot waits for it."""


def judge(before: Standing, result: HealthResult, checked_at: datetime) -> Verdict:
    """
    Decide by hysteresis.

    A success counts toward healthy, a failure toward unhealthy. Being limited by the provider
    counts for neither. What cannot be checked is unknown, and nobody's outage. What failed
    on our side says nothing.
    """
    if result.status is HealthStatus.UNKNOWN and result.error_code in _OURS:
        return _unchanged(before)
    if result.error_code is ErrorCode.NOT_SUPPORTED or result.status is HealthStatus.UNKNOWN:
        return _settled(before, IntegrationStatus.UNKNOWN, failures=0, successes=0)
    if result.error_code is ErrorCode.RATE_LIMITED:
        return _limited(before, result)
    if result.status is HealthStatus.UNHEALTHY:
        return _failed(before, result, checked_at)
    return _succeeded(before, IntegrationStatus(result.status))


def _unchanged(before: Standing) -> Verdict:
    return Verdict(
        status=before.status,
        failures=before.failures,
        successes=before.successes,
        failing_since=before.failing_since,
        recheck_seconds=None,
        incident=IncidentStep.NONE,
    )


def _limited(before: Standing, result: HealthResult) -> Verdict:
    is_out = before.status is IntegrationStatus.UNHEALTHY
    return Verdict(
        status=before.status if is_out else IntegrationStatus.DEGRADED,
        failures=before.failures,
        successes=before.successes,
        failing_since=before.failing_since,
        recheck_seconds=None,
        incident=IncidentStep.NONE,
        pause_seconds=result.retry_after_seconds,
    )


def _failed(before: Standing, result: HealthResult, checked_at: datetime) -> Verdict:
    failures = before.failures + 1
    rejected_again = (
        result.error_code is ErrorCode.AUTH_REJECTED
        and before.last_error_code is ErrorCode.AUTH_REJECTED
        and failures >= AUTH_REJECTIONS
    )
    was_out = before.status is IntegrationStatus.UNHEALTHY
    is_out = was_out or failures >= before.failure_threshold or rejected_again
    incident = IncidentStep.NONE
    if is_out and not was_out:
        incident = IncidentStep.OPEN
    elif was_out and result.error_code is not before.last_error_code:
        incident = IncidentStep.UPDATE
    return Verdict(
        status=IntegrationStatus.UNHEALTHY if is_out else before.status,
        failures=failures,
        successes=0,
        failing_since=before.failing_since or checked_at,
        recheck_seconds=None if is_out else DOUBT_SECONDS,
        incident=incident,
    )


def _succeeded(before: Standing, found: IntegrationStatus) -> Verdict:
    successes = before.successes + 1
    is_out = before.status is IntegrationStatus.UNHEALTHY
    if is_out and successes < before.success_threshold:
        return Verdict(
            status=before.status,
            failures=0,
            successes=successes,
            failing_since=before.failing_since,
            recheck_seconds=DOUBT_SECONDS,
            incident=IncidentStep.NONE,
        )
    return _settled(before, found, failures=0, successes=successes)


def _settled(
    before: Standing, status: IntegrationStatus, *, failures: int, successes: int
) -> Verdict:
    is_out = before.status is IntegrationStatus.UNHEALTHY
    return Verdict(
        status=status,
        failures=failures,
        successes=successes,
        failing_since=None,
        recheck_seconds=None,
        incident=IncidentStep.RESOLVE if is_out else IncidentStep.NONE,
    )
