"""How soon a target that is gone is looked at again."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.health import ErrorCode, HealthResult, IntegrationStatus
from stella_health_worker.back_off import LONGEST_SECONDS, backed_off
from stella_health_worker.verdict import Standing, Verdict, judge

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def standing(failures: int, *, code: ErrorCode = ErrorCode.CONNECT, successes: int = 0) -> Standing:
    is_out = failures >= 3 or successes > 0
    return Standing(
        status=IntegrationStatus.UNHEALTHY if is_out else IntegrationStatus.HEALTHY,
        failures=failures,
        successes=successes,
        failing_since=NOW,
        last_error_code=code,
        failure_threshold=3,
        success_threshold=2,
    )


def after(
    before: Standing, result: HealthResult, *, interval: float = 300, is_scheduled: bool = True
) -> Verdict:
    verdict = judge(before, result, NOW)
    return backed_off(
        verdict,
        before,
        result.error_code,
        interval_seconds=interval,
        is_scheduled=is_scheduled,
    )


def failure(code: str = "connect") -> HealthResult:
    return HealthResult.unhealthy(ErrorCode(code), "no")


def test_the_time_doubles_after_the_outage_was_declared_up_to_an_hour() -> None:
    pauses = [after(standing(failures), failure()).pause_seconds for failures in range(9)]

    assert pauses == [None, None, None, 600, 1200, 2400, 3600, 3600, 3600]


def test_doubt_is_looked_into_as_soon_as_ever() -> None:
    assert after(standing(1), failure()).recheck_seconds == 30


@pytest.mark.parametrize("code", ["dns", "timeout"])
def test_who_does_not_resolve_or_answer_is_gone_too(code: str) -> None:
    assert after(standing(4), failure(code)).pause_seconds == 1200


@pytest.mark.parametrize("code", ["tls", "auth_rejected", "remote_error", "secret_unresolvable"])
def test_who_answers_and_fails_is_looked_at_each_interval(code: str) -> None:
    assert after(standing(9), failure(code)).pause_seconds is None


def test_an_integration_that_is_checked_once_a_day_is_not_checked_more_often() -> None:
    assert after(standing(9), failure(), interval=86400).pause_seconds == 86400


@given(failures=st.integers(0, 5000), interval=st.floats(27, 95040))
def test_the_time_is_never_below_the_interval_and_never_above_an_hour_or_that(
    failures: int, interval: float
) -> None:
    pause = after(standing(failures), failure(), interval=interval).pause_seconds

    assert pause is None or interval <= pause <= max(LONGEST_SECONDS, interval)


def test_one_success_ends_it() -> None:
    verdict = after(standing(9), HealthResult.healthy())

    assert (verdict.recheck_seconds, verdict.pause_seconds) == (30, None)
    assert after(standing(0), failure()).pause_seconds is None


def test_who_asks_does_not_lengthen_the_pause() -> None:
    assert after(standing(9), failure(), is_scheduled=False).pause_seconds is None


def test_a_success_that_somebody_asked_for_brings_the_schedule_back() -> None:
    verdict = after(standing(0, successes=1), HealthResult.healthy(), is_scheduled=False)

    assert verdict.recheck_seconds == 300
