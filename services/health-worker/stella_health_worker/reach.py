"""Whether what everybody needs is gone, by what many different ones have met lately. Pure."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable

WINDOW_SECONDS = 45.0
"""Shorter than three failures with their rechecks take: before that, nothing is an outage."""

LEAST_SEEN = 10
"""With fewer different ones, it may as well be theirs."""

LOST_PERCENT = 90
BACK_PERCENT = 50
LEAST_BACK = 3

SEEN_LIMIT = 10_000


_Seen = tuple[bool, float, str]
"""Whether it failed, when, and whose it was. A tuple, since each check makes one."""


class Reach:
    """What the last attempt at each of many hosts, or secrets, came to."""

    def __init__(self, now: Callable[[], float], *, least_tenants: int = 1) -> None:
        """Failures of fewer tenants than `least_tenants` are theirs."""
        self._now = now
        self._least_tenants = least_tenants
        self._seen: OrderedDict[Hashable, _Seen] = OrderedDict()
        self._failing = 0
        self._failing_of: Counter[str] = Counter()
        self._lost = False

    def note(self, which: Hashable, tenant_id: str, *, failed: bool) -> None:
        """An attempt at one of them has ended."""
        self._drop(which)
        self._seen[which] = (failed, self._now(), tenant_id)
        if failed:
            self._failing += 1
            self._failing_of[tenant_id] += 1
        if len(self._seen) > SEEN_LIMIT:
            self._drop(next(iter(self._seen)))

    def is_lost(self) -> bool:
        """Whether nearly all fail; once they do, whether half of some few still do."""
        self._drop_old()
        seen = len(self._seen)
        if self._lost:
            is_back = seen >= LEAST_BACK and 100 * self._failing <= BACK_PERCENT * seen
            self._lost = not is_back
        elif seen >= LEAST_SEEN and 100 * self._failing >= LOST_PERCENT * seen:
            self._lost = len(self._failing_of) >= self._least_tenants
        return self._lost

    def _drop_old(self) -> None:
        oldest = self._now() - WINDOW_SECONDS
        while self._seen:
            which, (_, at, _) = next(iter(self._seen.items()))
            if at > oldest:
                return
            self._drop(which)

    def _drop(self, which: Hashable) -> None:
        held = self._seen.pop(which, None)
        if held is None or not held[0]:
            return
        tenant_id = held[2]
        self._failing -= 1
        self._failing_of[tenant_id] -= 1
        if not self._failing_of[tenant_id]:
            del self._failing_of[tenant_id]
