"""What outcomes do to the standing of an integration."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.health import ErrorCode, HealthResult, HealthStatus, IntegrationStatus
from stella_health_worker.verdict import DOUBT_SECONDS, IncidentStep, Standing, Verdict, judge

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NEW = Standing(
    status=IntegrationStatus.UNKNOWN,
    failures=0,
    successes=0,
    failing_since=None,
    last_error_code=None,
    failure_threshold=3,
    success_threshold=2,
)
HEALTHY = HealthResult.healthy()
SLOW = HealthResult.degraded(ErrorCode.REMOTE_ERROR, "redis is down")
REFUSED = HealthResult.unhealthy(ErrorCode.CONNECT, "The connection was refused")
REJECTED = HealthResult.unhealthy(ErrorCode.AUTH_REJECTED, "HTTP 401")
LIMITED = HealthResult(
    status=HealthStatus.DEGRADED, error_code=ErrorCode.RATE_LIMITED, retry_after_seconds=120
)
UNSUPPORTED = HealthResult(status=HealthStatus.UNKNOWN, error_code=ErrorCode.NOT_SUPPORTED)


def after(standing: Standing, verdict: Verdict, result: HealthResult) -> Standing:
    return replace(
        standing,
        status=verdict.status,
        failures=verdict.failures,
        successes=verdict.successes,
        failing_since=verdict.failing_since,
        last_error_code=result.error_code,
    )


def play(results: list[HealthResult], start: Standing = NEW) -> list[Verdict]:
    verdicts = []
    standing = start
    for minute, result in enumerate(results):
        verdict = judge(standing, result, NOON + timedelta(minutes=minute))
        verdicts.append(verdict)
        standing = after(standing, verdict, result)
    return verdicts


@pytest.mark.parametrize(
    ("results", "statuses"),
    [
        pytest.param([HEALTHY], ["healthy"], id="the first success is believed"),
        pytest.param(
            [HEALTHY, REFUSED, REFUSED, HEALTHY],
            ["healthy"] * 4,
            id="two failures are doubt, not an outage",
        ),
        pytest.param(
            [HEALTHY, REFUSED, REFUSED, REFUSED],
            ["healthy", "healthy", "healthy", "unhealthy"],
            id="three failures in a row are an outage",
        ),
        pytest.param(
            [REFUSED] * 3 + [HEALTHY, HEALTHY],
            ["unknown", "unknown", "unhealthy", "unhealthy", "healthy"],
            id="two successes in a row end it",
        ),
        pytest.param(
            [REFUSED] * 3 + [HEALTHY, REFUSED, HEALTHY, HEALTHY],
            ["unknown", "unknown"] + ["unhealthy"] * 4 + ["healthy"],
            id="a failure between successes starts the count again",
        ),
        pytest.param(
            [REJECTED, REJECTED],
            ["unknown", "unhealthy"],
            id="two rejected credentials are an outage at once",
        ),
        pytest.param(
            [REJECTED, REFUSED, REJECTED],
            ["unknown", "unknown", "unhealthy"],
            id="rejections that are not in a row count as other failures do",
        ),
        pytest.param(
            [HEALTHY] + [LIMITED] * 10,
            ["healthy"] + ["degraded"] * 10,
            id="being limited is never an outage",
        ),
        pytest.param(
            [REFUSED, REFUSED, LIMITED, REFUSED],
            ["unknown", "unknown", "degraded", "unhealthy"],
            id="being limited neither adds to the failures nor forgives them",
        ),
        pytest.param(
            [REFUSED] * 3 + [LIMITED],
            ["unknown", "unknown", "unhealthy", "unhealthy"],
            id="being limited does not end an outage",
        ),
        pytest.param(
            [HEALTHY, SLOW, HEALTHY],
            ["healthy", "degraded", "healthy"],
            id="degraded shows at once, both ways",
        ),
        pytest.param(
            [REFUSED] * 3 + [UNSUPPORTED],
            ["unknown", "unknown", "unhealthy", "unknown"],
            id="what cannot be checked is unknown",
        ),
    ],
)
def test_status_follows_the_results(results: list[HealthResult], statuses: list[str]) -> None:
    assert [verdict.status for verdict in play(results)] == statuses


def test_an_outage_began_with_its_first_failure() -> None:
    verdicts = play([HEALTHY, REFUSED, REFUSED, REFUSED])

    assert verdicts[-1].failing_since == NOON + timedelta(minutes=1)


def test_doubt_is_looked_into_soon_and_certainty_waits_for_its_slot() -> None:
    verdicts = play([REFUSED, REFUSED, REFUSED, HEALTHY, HEALTHY])

    assert [verdict.recheck_seconds for verdict in verdicts] == [
        DOUBT_SECONDS,
        DOUBT_SECONDS,
        None,
        DOUBT_SECONDS,
        None,
    ]


def test_a_limited_check_waits_as_long_as_the_provider_asks() -> None:
    [verdict] = play([LIMITED])

    assert (verdict.recheck_seconds, verdict.pause_seconds) == (None, 120)


def test_another_cause_updates_the_incident_and_does_not_open_a_second() -> None:
    verdicts = play([REFUSED, REFUSED, REFUSED, REJECTED, REJECTED])

    assert [verdict.incident for verdict in verdicts[2:]] == [
        IncidentStep.OPEN,
        IncidentStep.UPDATE,
        IncidentStep.NONE,
    ]


@given(
    results=st.lists(
        st.sampled_from([HEALTHY, SLOW, REFUSED, REJECTED, LIMITED, UNSUPPORTED]), max_size=60
    ),
    failure_threshold=st.integers(1, 20),
    success_threshold=st.integers(1, 20),
)
def test_incidents_open_and_resolve_in_turn_exactly_with_the_status(
    results: list[HealthResult], failure_threshold: int, success_threshold: int
) -> None:
    start = replace(NEW, failure_threshold=failure_threshold, success_threshold=success_threshold)

    is_open = False
    for verdict in play(results, start):
        if verdict.incident is IncidentStep.OPEN:
            assert not is_open
            is_open = True
        elif verdict.incident is IncidentStep.RESOLVE:
            assert is_open
            is_open = False
        elif verdict.incident is IncidentStep.UPDATE:
            assert is_open
        assert is_open == (verdict.status is IntegrationStatus.UNHEALTHY)
