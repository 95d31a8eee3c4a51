"""How many requests a tenant may make: a token bucket for each, in this process."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

TENANTS_KEPT = 10_000
WINDOW_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Quota:
    """What is left to a tenant (draft-ietf-httpapi-ratelimit-headers)."""

    limit: int
    """Requests of a minute; so many may also come at once."""
    remaining: int
    reset_seconds: int
    """Until another request is served, or, with some left, until the bucket is full again."""
    is_exceeded: bool

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As ASGI sends them."""
        return [
            (b"ratelimit-policy", b'"tenant";q=%d;w=%d' % (self.limit, WINDOW_SECONDS)),
            (b"ratelimit", b'"tenant";r=%d;t=%d' % (self.remaining, self.reset_seconds)),
        ]


class Quotas:
    """
    Counts the requests of each tenant.

    A bucket fills evenly, so that a tenant that asks evenly is never refused. Of more than
    `TENANTS_KEPT` tenants, the one that has been silent longest is forgotten: its bucket has had
    the longest time to fill.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = per_minute
        self._per_second = per_minute / WINDOW_SECONDS
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @property
    def kept(self) -> int:
        """Tenants that are remembered."""
        return len(self._buckets)

    def take(self, tenant_id: str) -> Quota:
        """Count a request, unless the bucket is empty."""
        now = self._clock()
        level, at = self._buckets.get(tenant_id, (float(self._limit), now))
        level = min(self._limit, level + (now - at) * self._per_second)
        is_exceeded = level < 1
        if not is_exceeded:
            level -= 1
        self._buckets[tenant_id] = (level, now)
        self._buckets.move_to_end(tenant_id)
        if len(self._buckets) > TENANTS_KEPT:
            self._buckets.popitem(last=False)
        missing = 1 - level if is_exceeded else self._limit - level
        return Quota(
            limit=self._limit,
            remaining=int(level),
            reset_seconds=max(1, math.ceil(missing / self._per_second)),
            is_exceeded=is_exceeded,
        )
