"""Credentials that end soon are told before they do."""

from datetime import UTC, datetime, timedelta

import pytest

from stella_contracts.health import ErrorCode, HealthResult
from stella_health_worker.expiry import stage_of, warned

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("days", "stage"),
    [(31, None), (30.01, None), (30, 30), (15, 30), (14, 14), (4, 14), (3, 3), (0, 3), (-9, 3)],
)
def test_stage_is_the_last_that_was_reached(days: float, stage: int | None) -> None:
    assert stage_of(NOW + timedelta(days=days), NOW) == stage


def test_credential_without_an_end_is_at_no_stage() -> None:
    assert stage_of(None, NOW) is None


@pytest.mark.parametrize(
    ("days", "message"),
    [
        (15, None),
        (14, "The credential expires within 14 days, on 2026-12-09. Renew it"),
        (2, "The credential expires within 3 days, on 2026-11-27. Renew it"),
    ],
)
def test_integration_is_degraded_by_a_credential_that_ends_soon(
    days: int, message: str | None
) -> None:
    ends = NOW + timedelta(days=days)

    found = warned(HealthResult.healthy(credential_expires_at=ends), NOW)

    assert found.error_message == message
    assert found.error_code == (ErrorCode.CREDENTIAL_EXPIRING if message else None)
    assert found.credential_expires_at == ends


def test_what_is_worse_is_told_first() -> None:
    worse = HealthResult.degraded(ErrorCode.REMOTE_ERROR, "read only")
    worse = worse.model_copy(update={"credential_expires_at": NOW})

    assert warned(worse, NOW) == worse
