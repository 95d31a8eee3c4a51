"""Warns of credentials that will soon stop working. Pure."""

from datetime import datetime, timedelta

from stella_contracts.health import ErrorCode, HealthResult, HealthStatus
from stella_runtime.persistence.scheduling import CredentialEnd

WARN_DAYS = (30, 14, 3)
"""So many days ahead it is said, each time more pressingly."""


def warned(result: HealthResult, now: datetime) -> HealthResult:
    """The result, degraded if it is healthy and its credential ends soon."""
    expires_at = result.credential_expires_at
    if result.status is not HealthStatus.HEALTHY or expires_at is None:
        return result
    within = _stage(expires_at, now)
    if within is None:
        return result
    degraded = HealthResult.degraded(
        ErrorCode.CREDENTIAL_EXPIRING,
        f"The credential expires within {within} days, on {expires_at:%Y-%m-%d}. Renew it",
    )
    return degraded.model_copy(update={"credential_expires_at": expires_at})


def watched(
    before: CredentialEnd | None, result: HealthResult, now: datetime
) -> CredentialEnd | None:
    """
    What is known of the credential's end after a check.

    A check that did not get to know it changes nothing: what has been told is told once.
    """
    if result.credential_expires_at is None:
        return None if result.status is HealthStatus.HEALTHY else before
    return CredentialEnd(result.credential_expires_at, _stage(result.credential_expires_at, now))


def is_to_be_told(before: CredentialEnd | None, after: CredentialEnd | None) -> bool:
    """Whether a credential has come to a stage that was not told of it yet."""
    return after is not None and after.within_days is not None and after != before


def _stage(expires_at: datetime, now: datetime) -> int | None:
    """The smallest of WARN_DAYS within which it ends, or None if it has longer."""
    return min(
        (days for days in WARN_DAYS if expires_at - now <= timedelta(days=days)), default=None
    )
