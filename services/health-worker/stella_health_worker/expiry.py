"""Warns of credentials that will soon stop working. Pure."""

from datetime import datetime, timedelta

from stella_contracts.health import ErrorCode, HealthResult, HealthStatus

WARN_DAYS = (30, 14, 3)
"""So many days ahead it is said, each time more pressingly."""

DEGRADED_DAYS = 14
"""From so many days ahead on, an integration that works is not well."""


def stage_of(expires_at: datetime | None, now: datetime) -> int | None:
    """The smallest of WARN_DAYS within which a credential ends, or None if it has longer."""
    if expires_at is None:
        return None
    return min(
        (days for days in WARN_DAYS if expires_at - now <= timedelta(days=days)), default=None
    )


def warned(result: HealthResult, now: datetime) -> HealthResult:
    """The result, degraded if it is healthy and its credential ends soon."""
    expires_at = result.credential_expires_at
    stage = stage_of(expires_at, now)
    if result.status is not HealthStatus.HEALTHY or expires_at is None:
        return result
    if stage is None or stage > DEGRADED_DAYS:
        return result
    degraded = HealthResult.degraded(
        ErrorCode.CREDENTIAL_EXPIRING,
        f"The credential expires within {stage} days, on {expires_at:%Y-%m-%d}. Renew it",
    )
    return degraded.model_copy(update={"credential_expires_at": expires_at})
