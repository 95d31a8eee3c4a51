"""Warns of credentials that will soon stop working. Pure."""

from datetime import datetime, timedelta

from stella_contracts.health import ErrorCode, HealthResult, HealthStatus

WARN_DAYS = (30, 14, 3)
"""So many days ahead it is said, each time more pressingly."""


def warned(result: HealthResult, now: datetime) -> HealthResult:
    """The result, degraded if it is healthy and its credential ends soon."""
    expires_at = result.credential_expires_at
    if result.status is not HealthStatus.HEALTHY or expires_at is None:
        return result
    within = [days for days in WARN_DAYS if expires_at - now <= timedelta(days=days)]
    if not within:
        return result
    degraded = HealthResult.degraded(
        ErrorCode.CREDENTIAL_EXPIRING,
        f"The credential expires within {min(within)} days, on {expires_at:%Y-%m-%d}. Renew it",
    )
    return degraded.model_copy(update={"credential_expires_at": expires_at})
