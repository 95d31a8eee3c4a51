"""When an integration flaps, and when it has calmed."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.health import IntegrationStatus
from stella_health_worker.flapping import (
    LONGEST_WINDOW,
    Changes,
    Flap,
    Thresholds,
    change_percent,
    is_flapping,
    watch,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CALM = Flap(Changes(), since=None, told=None)
DEFAULT = Thresholds(failures=3, successes=2)
HAIR_TRIGGER = Thresholds(failures=1, successes=1)

UP, DOWN, SLOW = IntegrationStatus.HEALTHY, IntegrationStatus.UNHEALTHY, IntegrationStatus.DEGRADED

thresholds = st.builds(Thresholds, failures=st.integers(1, 20), successes=st.integers(1, 20))


@dataclass
class Watched:
    """An integration whose status follows each result, or is kept."""

    thresholds: Thresholds
    flap: Flap = CALM
    status: IntegrationStatus = UP

    def then(self, status: IntegrationStatus, *, result_changed: bool | None = None) -> bool:
        """Whether it flaps after one more result."""
        changed = status is not self.status if result_changed is None else result_changed
        self.flap = watch(
            self.flap,
            result_changed=changed,
            former=self.status,
            status=status,
            at=NOON,
            thresholds=self.thresholds,
        )
        self.status = status
        return self.flap.since is not None


def test_results_that_change_each_time_are_flapping_even_where_the_status_stays() -> None:
    watched = Watched(DEFAULT)

    flapping = [watched.then(UP, result_changed=True) for _ in range(30)]

    assert flapping.index(True) == 8
    assert all(flapping[8:])


def test_without_hysteresis_one_pair_of_changes_is_told_and_the_third_is_flapping() -> None:
    watched = Watched(HAIR_TRIGGER)

    assert [watched.then(status) for status in (DOWN, UP, DOWN)] == [False, False, True]


def test_outages_as_fast_as_hysteresis_lets_them_come_are_flapping() -> None:
    watched = Watched(DEFAULT)

    flapping = [watched.then(status) for _ in range(4) for status in (UP, UP, DOWN, DOWN, DOWN)]

    assert flapping.index(True) == 10


@pytest.mark.parametrize("gap", [5, 10, 17])
def test_a_second_outage_soon_after_the_first_is_told(gap: int) -> None:
    watched = Watched(DEFAULT)

    outages = [DOWN] * 3 + [UP] * gap + [DOWN] * 3

    assert not any(watched.then(status) for status in outages)


def test_calm_comes_when_few_changes_are_left() -> None:
    watched = Watched(DEFAULT)
    for _ in range(LONGEST_WINDOW):
        watched.then(UP, result_changed=True)

    flapping = [watched.then(UP) for _ in range(LONGEST_WINDOW)]

    assert flapping.index(False) == 13
    assert not any(flapping[13:])


def test_between_the_bounds_it_stays_what_it_was() -> None:
    changes = Changes(results=0b1010101010)

    percent = change_percent(changes, DEFAULT)

    assert 25 < percent < 50
    assert not is_flapping(changes, was=False, thresholds=DEFAULT)
    assert is_flapping(changes, was=True, thresholds=DEFAULT)


def test_to_be_known_for_the_first_time_is_no_change() -> None:
    flap = watch(
        CALM,
        result_changed=False,
        former=IntegrationStatus.UNKNOWN,
        status=UP,
        at=NOON,
        thresholds=HAIR_TRIGGER,
    )

    assert flap == CALM


@given(st.integers(0, 2**LONGEST_WINDOW - 1), st.integers(0, 2**LONGEST_WINDOW - 1), thresholds)
def test_percent_is_a_percent_and_begins_flapping_only_where_it_would_not_end_it(
    results: int, statuses: int, given_thresholds: Thresholds
) -> None:
    changes = Changes(results, statuses)

    assert 0 <= change_percent(changes, given_thresholds) <= 100
    if is_flapping(changes, was=False, thresholds=given_thresholds):
        assert is_flapping(changes, was=True, thresholds=given_thresholds)


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([UP, DOWN, SLOW])), max_size=80), thresholds
)
def test_whatever_comes_before_a_full_window_of_calm_ends_flapping(
    history: list[tuple[bool, IntegrationStatus]], given_thresholds: Thresholds
) -> None:
    watched = Watched(given_thresholds)
    for result_changed, status in history:
        watched.then(status, result_changed=result_changed)

    for _ in range(LONGEST_WINDOW):
        flaps = watched.then(watched.status, result_changed=False)

    assert not flaps
    assert watched.flap == CALM


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([UP, DOWN, SLOW])), max_size=80))
def test_what_is_held_back_is_the_status_that_was_told_last(
    history: list[tuple[bool, IntegrationStatus]],
) -> None:
    watched = Watched(HAIR_TRIGGER)
    told = watched.status
    for result_changed, status in history:
        if not watched.then(status, result_changed=result_changed):
            told = status
        assert (watched.flap.told or watched.status) is told
        assert watched.flap.told is not watched.status
        assert replace(watched.flap.changes, results=0).statuses < 2**LONGEST_WINDOW
