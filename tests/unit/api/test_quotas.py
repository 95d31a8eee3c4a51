"""A tenant gets what it may have, and takes nothing from another one."""

import pytest

from stella_api.quotas import TENANTS_KEPT, Quotas


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def exceeded(quotas: Quotas, tenant: str, requests: int) -> int:
    """How many of so many requests are refused."""
    return sum(quotas.take(tenant).is_exceeded for _ in range(requests))


def test_a_minutes_requests_may_come_at_once_and_no_more(clock: Clock) -> None:
    quotas = Quotas(60, clock=clock)

    assert exceeded(quotas, "acme", 70) == 10
    assert exceeded(quotas, "globex", 60) == 0


def test_who_asks_evenly_is_never_refused(clock: Clock) -> None:
    quotas = Quotas(60, clock=clock)
    exceeded(quotas, "acme", 60)

    for _ in range(200):
        clock.now += 1
        assert exceeded(quotas, "acme", 1) == 0


def test_it_says_what_is_left_and_when_to_come_back(clock: Clock) -> None:
    quotas = Quotas(60, clock=clock)

    first = quotas.take("acme")
    exceeded(quotas, "acme", 59)
    refused = quotas.take("acme")

    assert first.headers == [
        (b"ratelimit-policy", b'"tenant";q=60;w=60'),
        (b"ratelimit", b'"tenant";r=59;t=1'),
    ]
    assert refused.headers == [
        (b"ratelimit-policy", b'"tenant";q=60;w=60'),
        (b"ratelimit", b'"tenant";r=0;t=1'),
    ]
    clock.now += 1
    assert not quotas.take("acme").is_exceeded


def test_a_bucket_holds_no_more_than_a_minute(clock: Clock) -> None:
    quotas = Quotas(60, clock=clock)
    quotas.take("acme")
    clock.now += 3600

    assert exceeded(quotas, "acme", 61) == 1


def test_tenants_without_number_are_not_kept_and_the_loud_one_is(clock: Clock) -> None:
    quotas = Quotas(60, clock=clock)
    for number in range(TENANTS_KEPT + 500):
        if number % 100 == 0:
            quotas.take("acme")
        quotas.take(f"tenant-{number}")

    assert quotas.kept == TENANTS_KEPT
    assert exceeded(quotas, "acme", 60) == 60
