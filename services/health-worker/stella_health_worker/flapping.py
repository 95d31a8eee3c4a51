"""
When changes of an integration are too many to be told one by one. Pure.

As Nagios and Sensu do it: of the last 21 results, the share of changes, the younger ones
weighing more, from 0.75 to 1.25; flapping begins at a high share and ends below a low one
(Naemon's manual, "Detection and Handling of State Flapping"; `flapping.go` of sensu-go). What
changes is looked at twice: the results, and the status that hysteresis makes of them, which can
change only once in a few results; the greater share counts.
"""

from dataclasses import dataclass
from datetime import datetime

from stella_contracts.health import IntegrationStatus

LONGEST_WINDOW = 20
"""Gaps between 21 results."""

HIGH_PERCENT = 50
LOW_PERCENT = 25

SLOWEST_CYCLE = 5
"""The default thresholds: three failures and two successes take a status there and back."""

_KEPT = (1 << LONGEST_WINDOW) - 1


@dataclass(frozen=True, slots=True)
class Changes:
    """Which of the last results were changes: one bit each, the youngest last."""

    results: int = 0
    statuses: int = 0

    def then(self, *, result_changed: bool, status_changed: bool) -> "Changes":
        """After one more result."""
        return Changes(
            results=(self.results << 1 | result_changed) & _KEPT,
            statuses=(self.statuses << 1 | status_changed) & _KEPT,
        )


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many results in a row change a status."""

    failures: int
    successes: int

    @property
    def cycle(self) -> int:
        """So many results take it there and back."""
        return self.failures + self.successes


@dataclass(frozen=True, slots=True)
class Flap:
    """What is remembered of an integration's changes."""

    changes: Changes
    since: datetime | None
    """When the flapping began; None while it does not flap."""
    told: IntegrationStatus | None
    """The status that was announced last, where it is not the present one."""


def watch(
    before: Flap,
    *,
    result_changed: bool,
    former: IntegrationStatus,
    status: IntegrationStatus,
    at: datetime,
    thresholds: Thresholds,
) -> Flap:
    """After a result that turned the status from `former` into `status`, or left it."""
    # To be known for the first time is no change.
    is_change = status is not former and former is not IntegrationStatus.UNKNOWN
    changes = before.changes.then(result_changed=result_changed, status_changed=is_change)
    if not is_flapping(changes, was=before.since is not None, thresholds=thresholds):
        return Flap(changes, since=None, told=None)
    told = before.told or former
    return Flap(changes, since=before.since or at, told=None if told is status else told)


def change_percent(changes: Changes, thresholds: Thresholds) -> float:
    """How much of what could have changed did."""
    share, whole = _share(changes, thresholds.cycle)
    return min(round(100 * share / whole, 1), 100.0)


def is_flapping(changes: Changes, *, was: bool, thresholds: Thresholds) -> bool:
    """Whether it flaps now, if it did or did not before."""
    if not (changes.results or changes.statuses):
        # As of nearly all, nearly always.
        return False
    share, whole = _share(changes, thresholds.cycle)
    return 100 * share >= (LOW_PERCENT if was else HIGH_PERCENT) * whole


def _share(changes: Changes, cycle: int) -> tuple[int, int]:
    # Where few results change the status, few are enough to see that it flaps.
    window = min(LONGEST_WINDOW, 4 * cycle - 1)
    results = 2 * _weight(changes.results, window)
    statuses = min(cycle, SLOWEST_CYCLE) * _weight(changes.statuses, window)
    return max(results, statuses), 2 * _weight(-1, window)


def _weight(bits: int, window: int) -> int:
    """The changes of a window in whole numbers: the weights are 0.75 to 1.25 by a factor."""
    step = window - 1
    return sum(5 * step - 2 * age for age in range(window) if bits >> age & 1)
