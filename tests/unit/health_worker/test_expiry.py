"""Credentials that end soon are told before they do."""

from datetime import UTC, datetime, timedelta

import pytest

from stella_contracts.health import ErrorCode, HealthResult
from stella_health_worker.expiry import is_to_be_told, warned, watched

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (31, None),
        (30.01, None),
        (30, "The credential expires within 30 days, on 2026-12-25. Renew it"),
        (15, "The credential expires within 30 days, on 2026-12-10. Renew it"),
        (14, "The credential expires within 14 days, on 2026-12-09. Renew it"),
        (3, "The credential expires within 3 days, on 2026-11-28. Renew it"),
        (-9, "The credential expires within 3 days, on 2026-11-16. Renew it"),
    ],
)
def test_integration_is_degraded_by_a_credential_that_ends_soon(
    days: float, message: str | None
) -> None:
    ends = NOW + timedelta(days=days)

    found = warned(HealthResult.healthy(credential_expires_at=ends), NOW)

    assert found.error_message == message
    assert found.error_code == (ErrorCode.CREDENTIAL_EXPIRING if message else None)
    assert found.credential_expires_at == ends


def test_credential_without_an_end_is_nobodys_business() -> None:
    assert warned(HealthResult.healthy(), NOW) == HealthResult.healthy()


def test_what_is_worse_is_told_first() -> None:
    worse = HealthResult.degraded(ErrorCode.REMOTE_ERROR, "read only")
    worse = worse.model_copy(update={"credential_expires_at": NOW})

    assert warned(worse, NOW) == worse


def end(days: float | None) -> HealthResult:
    ends = None if days is None else NOW + timedelta(days=days)
    return HealthResult.healthy(credential_expires_at=ends)


def test_same_credential_is_told_of_when_it_comes_closer_and_not_again() -> None:
    ends = NOW + timedelta(days=40)
    result = HealthResult.healthy(credential_expires_at=ends)
    known, said = None, []
    for days_ahead in (40, 30, 29, 14, 13, 3, 1, -1):
        after = watched(known, result, ends - timedelta(days=days_ahead))
        if is_to_be_told(known, after):
            said.append(days_ahead)
        known = after

    assert said == [30, 14, 3]


def test_renewed_credential_is_another() -> None:
    soon, renewed = watched(None, end(2), NOW), watched(None, end(200), NOW)

    assert is_to_be_told(None, soon)
    assert not is_to_be_told(soon, renewed)
    assert is_to_be_told(renewed, soon)


def test_failed_check_forgets_nothing_and_a_provider_that_tells_no_end_has_none() -> None:
    soon = watched(None, end(2), NOW)
    failed = HealthResult.unhealthy(ErrorCode.CONNECT, "refused")

    assert watched(soon, failed, NOW) == soon
    assert watched(soon, end(None), NOW) is None
