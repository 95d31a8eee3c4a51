"""Remembers briefly what a vault answered, in memory alone."""

import time
from collections import OrderedDict
from collections.abc import Callable

CACHE_SECONDS = 60.0
"""As long as a vault may be away, or a rotated secret be asked for in vain, without a sign."""

CACHE_LIMIT = 10_000


class SecretCache:
    """What was read, by vault and path: the oldest leaves when it is full."""

    def __init__(
        self, seconds: float = CACHE_SECONDS, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._texts: OrderedDict[tuple[str, str], tuple[float, str]] = OrderedDict()

    def find(self, vault: str, path: str) -> str | None:
        """What was read within the cache's time, or None."""
        held = self._texts.get((vault, path))
        if held is None:
            return None
        until, text = held
        if self._clock() < until:
            return text
        del self._texts[vault, path]
        return None

    def keep(self, vault: str, path: str, text: str) -> None:
        """Remember what was read now."""
        self._texts.pop((vault, path), None)
        self._texts[vault, path] = (self._clock() + self._seconds, text)
        if len(self._texts) > CACHE_LIMIT:
            self._texts.popitem(last=False)

    def __repr__(self) -> str:
        return f"SecretCache(entries={len(self._texts)})"
