"""Whose failures shut a host out, for whom, and what opens it again."""

from dataclasses import replace

import pytest
from tests.support.catalog import outcome
from tests.unit.health_worker.plugin_doubles import TARGET

from stella_contracts.health import ErrorCode, HealthResult, Step, StepResult
from stella_health_worker.breakers import Breakers
from stella_runtime.persistence.scheduling import Outcome

HOST = ("tool.test", 443)
CONNECTED = [Step(name="connect", result=StepResult.PASSED)]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watched(Breakers):
    """Breakers of one host, with a clock that the test sets."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.shut_out: list[int] = []
        super().__init__(self.clock, chance=lambda: 0.999, on_change=self.shut_out.append)

    def check(self, tenant: str, found: Outcome) -> None:
        self.admit(HOST, tenant, insisting=True)
        self.note(HOST, tenant, found)

    def is_shut(self, tenant: str) -> bool:
        return self.refusal(HOST, tenant) is not None


def found(code: ErrorCode | None, steps: list[Step] | None = None) -> Outcome:
    result = HealthResult.healthy() if code is None else HealthResult.unhealthy(code, "no")
    return outcome(TARGET, result, steps=CONNECTED if steps is None else steps)


REFUSED = found(ErrorCode.CONNECT)


@pytest.mark.parametrize("code", ["connect", "dns", "tls", "timeout"])
def test_five_failures_to_answer_shut_a_host_out(code: str) -> None:
    breakers = Watched()

    for _ in range(4):
        breakers.check("acme", found(ErrorCode(code)))
    assert not breakers.is_shut("acme")
    breakers.check("acme", found(ErrorCode(code)))

    refusal = breakers.admit(HOST, "acme")
    assert refusal is not None
    assert (refusal.code, refusal.failures) == (code, 5)
    assert 29 < refusal.seconds <= 30
    assert breakers.shut_out == [1]


@pytest.mark.parametrize(
    "answer", ["auth_rejected", "not_found", "rate_limited", "remote_error", "bad_response", None]
)
def test_any_answer_opens_it_again(answer: str | None) -> None:
    breakers = Watched()
    for _ in range(7):
        breakers.check("acme", REFUSED)

    breakers.check("acme", found(None if answer is None else ErrorCode(answer)))

    assert not breakers.is_shut("acme")
    assert breakers.shut_out == [1, 0]


@pytest.mark.parametrize("code", ["secret_unresolvable", "misconfigured", "plugin_error"])
def test_what_never_reached_the_host_says_nothing_of_it(code: str) -> None:
    breakers = Watched()

    for _ in range(4):
        breakers.check("acme", REFUSED)
    for _ in range(9):
        breakers.check("acme", found(ErrorCode(code)))
    assert not breakers.is_shut("acme")

    breakers.check("acme", REFUSED)
    assert breakers.is_shut("acme")


def test_a_vault_that_takes_all_the_time_is_not_the_host() -> None:
    breakers = Watched()
    steps = [Step(name="resolve_secret", result=StepResult.FAILED)]

    for _ in range(9):
        breakers.check("acme", found(ErrorCode.TIMEOUT, steps))

    assert not breakers.is_shut("acme")


def test_one_tenant_alone_shuts_a_host_out_for_itself_only() -> None:
    breakers = Watched()

    for _ in range(50):
        breakers.check("acme", REFUSED)

    assert breakers.is_shut("acme")
    assert not breakers.is_shut("other")


def test_a_host_that_fails_for_one_tenant_after_another_is_shut_out_for_all() -> None:
    breakers = Watched()

    for number in range(6):
        breakers.check(f"tenant-{number}", REFUSED)

    assert breakers.is_shut("somebody")
    breakers.check("tenant-3", found(None))
    assert not breakers.is_shut("somebody")


def test_the_check_after_the_time_is_the_probe_and_the_others_wait_for_it() -> None:
    breakers = Watched()
    for _ in range(5):
        breakers.check("acme", REFUSED)
    breakers.clock.now += 30

    assert breakers.admit(HOST, "acme") is None
    assert breakers.admit(HOST, "acme") is not None

    breakers.note(HOST, "acme", REFUSED)
    refusal = breakers.refusal(HOST, "acme")
    assert refusal is not None
    assert 59 < refusal.seconds <= 60


def test_a_probe_without_an_outcome_makes_way_for_the_next() -> None:
    breakers = Watched()
    for _ in range(5):
        breakers.check("acme", REFUSED)
    breakers.clock.now += 30
    breakers.admit(HOST, "acme")

    breakers.forget(HOST, "acme")

    assert breakers.admit(HOST, "acme") is None


def test_hosts_are_told_apart_by_their_port() -> None:
    breakers = Watched()
    for _ in range(5):
        breakers.check("acme", replace(REFUSED))

    assert breakers.refusal(("tool.test", 8443), "acme") is None
