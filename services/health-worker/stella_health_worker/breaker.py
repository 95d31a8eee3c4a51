"""
The circuit breaker of a host: after failures in a row it is left alone for a while. Pure.

    closed      everything is let through; the fifth failure in a row opens it
    open        nothing is let through until its time is over: 30 s, then doubled up to 10 min
    half-open   one probe is let through: its failure opens the breaker again, for longer

Any answer of the host closes it, whoever asked.
"""

from dataclasses import dataclass, replace
from enum import Enum

from stella_contracts.health import ErrorCode

FAILURES = 5
FIRST_SECONDS = 30.0
LONGEST_SECONDS = 600.0
SHORTEST_SHARE = 0.8
"""Of the time that is due; the rest is chance, so that workers do not ask all at once."""
PROBE_SECONDS = 90.0
"""A probe that has not been heard of for so long never will be: no check takes this time."""


class Admission(Enum):
    """What becomes of a check of the host."""

    GO = "go"
    PROBE = "probe"
    """It goes, and its outcome decides whether the others do."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Breaker:
    """How a host has answered. Times are of one monotonic clock."""

    failures: int = 0
    """In a row."""
    code: ErrorCode | None = None
    """Of the last failure."""
    times_opened: int = 0
    """In a row."""
    open_until: float | None = None
    """When a probe is let through; None while closed."""
    probe_since: float | None = None


CLOSED = Breaker()


def admission(breaker: Breaker, now: float, *, insisting: bool = False) -> Admission:
    """What a check that comes now may do. Who insists is always let through."""
    if breaker.open_until is None:
        return Admission.GO
    if insisting:
        return Admission.PROBE
    is_probed = breaker.probe_since is not None and now < breaker.probe_since + PROBE_SECONDS
    return Admission.REFUSE if is_probed or now < breaker.open_until else Admission.PROBE


def probed(breaker: Breaker, now: float) -> Breaker:
    """A probe has left."""
    return replace(breaker, probe_since=now)


def given_up(breaker: Breaker) -> Breaker:
    """The probe ended without an outcome."""
    return replace(breaker, probe_since=None)


def failed(breaker: Breaker, code: ErrorCode, now: float, *, chance: float) -> Breaker:
    """The host did not answer. `chance` is from 0 up to 1."""
    after = replace(breaker, failures=breaker.failures + 1, code=code)
    if breaker.open_until is None:
        return _opened(after, now, chance) if after.failures >= FAILURES else after
    if breaker.probe_since is None or now < breaker.open_until:
        # It had begun before the breaker opened, or somebody insisted: no news.
        return replace(after, probe_since=None)
    return _opened(after, now, chance)


def _opened(breaker: Breaker, now: float, chance: float) -> Breaker:
    due = min(FIRST_SECONDS * 2.0 ** min(breaker.times_opened, 16), LONGEST_SECONDS)
    seconds = due * (SHORTEST_SHARE + (1 - SHORTEST_SHARE) * chance)
    return replace(
        breaker,
        times_opened=breaker.times_opened + 1,
        open_until=now + seconds,
        probe_since=None,
    )
