"""The circuit breaker of a host, alone and against a model."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from stella_contracts.health import ErrorCode
from stella_health_worker.breaker import (
    CLOSED,
    FAILURES,
    FIRST_SECONDS,
    LONGEST_SECONDS,
    PROBE_SECONDS,
    SHORTEST_SHARE,
    Admission,
    Breaker,
    admission,
    failed,
    given_up,
    probed,
)

CONNECT = ErrorCode.CONNECT


def after_failures(count: int, *, at: float = 0.0) -> Breaker:
    breaker = CLOSED
    for _ in range(count):
        breaker = failed(breaker, CONNECT, at, chance=1.0)
    return breaker


@pytest.mark.parametrize("failures", range(FAILURES))
def test_fewer_failures_than_five_let_everything_through(failures: int) -> None:
    assert admission(after_failures(failures), 0.0) is Admission.GO


def test_the_fifth_failure_shuts_the_host_out_for_half_a_minute() -> None:
    breaker = after_failures(FAILURES)

    assert admission(breaker, 29.9) is Admission.REFUSE
    assert admission(breaker, 30.0) is Admission.PROBE


def test_only_one_probe_is_out_at_a_time() -> None:
    breaker = probed(after_failures(FAILURES), 30.0)

    assert admission(breaker, 31.0) is Admission.REFUSE


def test_a_probe_that_is_never_heard_of_is_replaced() -> None:
    breaker = probed(after_failures(FAILURES), 30.0)

    assert admission(breaker, 30.0 + PROBE_SECONDS) is Admission.PROBE
    assert admission(given_up(breaker), 31.0) is Admission.PROBE


def test_each_failed_probe_doubles_the_time_up_to_ten_minutes() -> None:
    breaker, now, times = after_failures(FAILURES), 0.0, []

    for _ in range(8):
        assert breaker.open_until is not None
        times.append(breaker.open_until - now)
        now = breaker.open_until
        breaker = failed(probed(breaker, now), CONNECT, now, chance=1.0)

    assert times == [30, 60, 120, 240, 480, 600, 600, 600]


def test_who_insists_is_let_through_and_its_failure_costs_the_host_no_time() -> None:
    breaker = after_failures(FAILURES)

    assert admission(breaker, 1.0, insisting=True) is Admission.PROBE
    after = failed(probed(breaker, 1.0), CONNECT, 2.0, chance=1.0)
    assert after.open_until == breaker.open_until
    assert admission(after, 30.0) is Admission.PROBE


def test_failures_of_checks_that_had_begun_before_it_opened_change_nothing() -> None:
    breaker = after_failures(FAILURES)

    late = failed(breaker, ErrorCode.TIMEOUT, 5.0, chance=1.0)

    assert (late.open_until, late.times_opened) == (breaker.open_until, 1)
    assert late.failures == FAILURES + 1


class AgainstAHost(RuleBasedStateMachine):
    """Checks come, go through or not, and end in any order; the host is up or down."""

    out = Bundle("out")

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.breaker = CLOSED
        self.failures_in_a_row = 0
        self.probes_out = 0

    @rule(seconds=st.floats(0.0, 200.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=out, insisting=st.booleans())
    def a_check_comes(self, insisting: bool) -> str:
        decided = admission(self.breaker, self.now, insisting=insisting)
        if self.failures_in_a_row < FAILURES:
            assert decided is Admission.GO
        if insisting:
            assert decided is not Admission.REFUSE
        if decided is Admission.PROBE:
            self.breaker = probed(self.breaker, self.now)
        return decided.value

    @rule(ended=consumes(out), chance=st.floats(0.0, 1.0, exclude_max=True))
    def a_check_finds_nobody(self, ended: str, chance: float) -> None:
        if ended == "refuse":
            return
        self.failures_in_a_row += 1
        self.breaker = failed(self.breaker, CONNECT, self.now, chance=chance)

    @rule(ended=consumes(out))
    def a_check_is_answered(self, ended: str) -> None:
        if ended == "refuse":
            return
        self.failures_in_a_row = 0
        self.breaker = CLOSED

    @rule(ended=consumes(out))
    def a_check_is_cancelled(self, ended: str) -> None:
        if ended == "probe":
            self.breaker = given_up(self.breaker)

    @invariant()
    def it_is_open_only_after_five_failures_in_a_row(self) -> None:
        is_open = self.breaker.open_until is not None
        assert is_open == (self.failures_in_a_row >= FAILURES)

    @invariant()
    def it_never_stays_shut_for_longer_than_it_may(self) -> None:
        if self.breaker.open_until is None:
            return
        assert self.breaker.open_until - self.now <= LONGEST_SECONDS
        later = max(self.breaker.open_until, self.now + PROBE_SECONDS)
        assert admission(self.breaker, later) is Admission.PROBE

    @invariant()
    def what_it_lets_through_early_is_only_what_insists(self) -> None:
        if self.breaker.open_until is not None and self.now < self.breaker.open_until:
            assert admission(self.breaker, self.now) is Admission.REFUSE


TestAgainstAHost = AgainstAHost.TestCase


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_chance_shortens_the_time_by_a_fifth_at_most(chance: float) -> None:
    breaker = after_failures(FAILURES - 1)

    opened = failed(breaker, CONNECT, 0.0, chance=chance)

    assert opened.open_until is not None
    assert FIRST_SECONDS * SHORTEST_SHARE <= opened.open_until <= FIRST_SECONDS
