"""When what everybody needs is taken to be gone, and when to be back."""

from hypothesis import given
from hypothesis import strategies as st

from stella_health_worker.reach import LEAST_SEEN, SEEN_LIMIT, WINDOW_SECONDS, Reach


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_nearly_all_of_many_at_once_are_ours() -> None:
    reach = Reach(Clock())
    for number in range(LEAST_SEEN - 1):
        reach.note(number, "acme", failed=True)
    assert not reach.is_lost()

    reach.note("one more", "acme", failed=True)

    assert reach.is_lost()


def test_what_fails_again_and_again_is_one() -> None:
    reach = Reach(Clock())
    for _ in range(100):
        reach.note("harbor.test", "acme", failed=True)

    assert not reach.is_lost()


def test_two_in_ten_that_answer_show_that_there_is_a_way_out() -> None:
    reach = Reach(Clock())
    for number in range(20):
        reach.note(number, "acme", failed=number % 5 != 0)

    assert not reach.is_lost()


def test_failures_that_are_long_ago_are_forgotten() -> None:
    clock = Clock()
    reach = Reach(clock)
    for number in range(LEAST_SEEN - 1):
        reach.note(number, "acme", failed=True)
    clock.now = WINDOW_SECONDS + 1

    reach.note("one more", "acme", failed=True)

    assert not reach.is_lost()


def test_silence_is_no_recovery_and_some_that_answer_are() -> None:
    clock = Clock()
    reach = Reach(clock)
    for number in range(LEAST_SEEN):
        reach.note(number, "acme", failed=True)
    assert reach.is_lost()
    clock.now = 10 * WINDOW_SECONDS
    assert reach.is_lost()

    for number in range(2):
        reach.note(number, "acme", failed=False)
        assert reach.is_lost()
    reach.note(2, "acme", failed=False)

    assert not reach.is_lost()


def test_what_one_tenant_alone_cannot_reach_is_that_tenants() -> None:
    reach = Reach(Clock(), least_tenants=2)
    for number in range(LEAST_SEEN):
        reach.note(number, "acme", failed=True)
    assert not reach.is_lost()

    reach.note("another", "globex", failed=True)

    assert reach.is_lost()


def test_what_is_remembered_is_bounded() -> None:
    reach = Reach(Clock())
    for number in range(SEEN_LIMIT + 10):
        reach.note(number, "acme", failed=False)

    assert len(reach._seen) <= SEEN_LIMIT


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.floats(0, 30)), max_size=120))
def test_what_fails_is_counted_as_it_is_remembered(
    history: list[tuple[int, bool, float]],
) -> None:
    clock = Clock()
    reach = Reach(clock)
    for host, failed, seconds in history:
        clock.now += seconds
        reach.note(host, "acme", failed=failed)
        reach.is_lost()
        assert reach._failing == reach._failing_of.total()
        assert reach._failing == sum(failed for failed, _, _ in reach._seen.values())
