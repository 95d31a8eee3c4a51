"""What a try means, rule by rule."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.messages import EventType
from stella_contracts.webhooks import DeliveryState
from stella_health_worker.webhooks.rules import Rules, Try, Verdict, judge
from stella_runtime.ids import new_id
from stella_runtime.persistence.webhook_sending import Endpoint, Parcel

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
RULES = Rules()
DAY = timedelta(days=1)


def judged(
    tried: Try,
    endpoint: Endpoint | None = None,
    *,
    tries: int = 0,
    spread: float = 0.5,
    rules: Rules = RULES,
) -> Verdict:
    parcel = Parcel(
        delivery_id=new_id(),
        webhook_id=new_id(),
        tenant_id="acme",
        event_id=new_id(),
        event_type="integration.created",
        body=b"{}",
        tries=tries,
        url="https://pager.test/",
        auth_ref_uri="authref://vault/hooks",
        endpoint=endpoint or Endpoint(),
    )
    return judge(parcel, tried, rules, now=NOW, spread=spread)


FAILED = Try(status_code=500, error="HTTP 500")
ACCEPTED = Try(status_code=204)


def test_a_delivery_is_tried_for_about_a_day_at_growing_pauses() -> None:
    verdicts = [judged(FAILED, tries=tries) for tries in range(9)]
    pauses = [each.next_attempt_at - NOW for each in verdicts if each.next_attempt_at]

    assert [each.state for each in verdicts] == [DeliveryState.PENDING] * 8 + [DeliveryState.FAILED]
    assert pauses[0] == timedelta(seconds=5)
    assert all(short < long for short, long in pairwise(pauses))
    assert timedelta(hours=20) < sum(pauses, timedelta()) < timedelta(hours=28)


@given(spread=st.floats(0, 1), failures=st.integers(0, 10_000), tries=st.integers(0, 7))
def test_pauses_are_spread_and_bounded(spread: float, failures: int, tries: int) -> None:
    verdict = judged(
        FAILED,
        Endpoint(consecutive_failures=failures, failing_since=NOW),
        tries=tries,
        spread=spread,
    )

    assert verdict.next_attempt_at is not None
    assert verdict.endpoint.not_before is not None
    own = (verdict.next_attempt_at - NOW).total_seconds() / RULES.retry_seconds[tries]
    assert 0.79 < own < 1.21
    assert timedelta() < verdict.endpoint.not_before - NOW <= timedelta(seconds=3600 * 1.2)


@pytest.mark.parametrize(
    ("failures", "age", "disabled"),
    [
        pytest.param(29, 4 * DAY, True, id="often and long"),
        pytest.param(28, 4 * DAY, False, id="long but not often"),
        pytest.param(500, 2 * DAY, False, id="often but not long"),
    ],
)
def test_it_takes_a_count_and_an_age_to_disable(
    failures: int, age: timedelta, disabled: bool
) -> None:
    verdict = judged(FAILED, Endpoint(consecutive_failures=failures, failing_since=NOW - age))

    assert verdict.endpoint.disabled_reason == ("failing" if disabled else None)
    assert verdict.announce == (EventType.WEBHOOK_DISABLED if disabled else None)
    if disabled:
        assert verdict.endpoint.not_before == NOW + DAY


def test_a_trial_that_fails_is_not_announced_again_and_the_next_one_is_a_day_later() -> None:
    before = Endpoint(
        consecutive_failures=40, failing_since=NOW - 9 * DAY, disabled_reason="failing"
    )

    verdict = judged(FAILED, before)

    assert (verdict.announce, verdict.endpoint.disabled_reason) == (None, "failing")
    assert verdict.endpoint.not_before == NOW + DAY


def test_a_trial_that_is_accepted_heals() -> None:
    before = Endpoint(
        consecutive_failures=40, failing_since=NOW - 9 * DAY, disabled_reason="failing"
    )

    verdict = judged(ACCEPTED, before)

    assert verdict == Verdict(DeliveryState.DELIVERED, None, Endpoint(), EventType.WEBHOOK_ENABLED)


def test_what_fails_on_our_side_counts_for_the_delivery_and_not_for_the_endpoint() -> None:
    ours = Try(error="secret_unresolvable: The vault is away.", is_ours=True)
    before = Endpoint(consecutive_failures=500, failing_since=NOW - 9 * DAY)

    verdict = judged(ours, before)
    last = judged(ours, before, tries=8)

    assert verdict.endpoint.consecutive_failures == 500
    assert (verdict.announce, verdict.endpoint.disabled_reason) == (None, None)
    assert verdict.endpoint.not_before is not None
    assert (verdict.state, last.state) == (DeliveryState.PENDING, DeliveryState.FAILED)


def test_retry_after_holds_back_the_endpoint_and_not_only_the_delivery() -> None:
    limited = Try(status_code=429, error="HTTP 429", retry_after_seconds=1800)

    verdict = judged(limited)

    assert verdict.next_attempt_at == verdict.endpoint.not_before == NOW + timedelta(seconds=1800)


def test_410_ends_it_whatever_was_before() -> None:
    verdict = judged(Try(status_code=410, error="HTTP 410"))

    assert (verdict.state, verdict.announce) == (DeliveryState.FAILED, EventType.WEBHOOK_DISABLED)
    assert verdict.endpoint.disabled_reason == "gone"
