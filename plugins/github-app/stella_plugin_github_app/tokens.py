"""Tokens of installations, kept until shortly before they end."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

LIMIT = 4096
"""Tokens that are kept; who was used longest ago leaves first."""

RENEWED_SECONDS_AHEAD = 300.0
LONGEST_SECONDS = 3600.0
"""As long as GitHub lets them live. A date that lies further ahead is a mistake."""


@dataclass(frozen=True, slots=True)
class InstallationToken:
    text: str = field(repr=False)


class InstallationTokens:
    """Shows no token in its text forms."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, str]] = OrderedDict()

    def find(self, key: Hashable) -> InstallationToken | None:
        """One that is still good for some minutes, or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        until, text = found
        if self._clock() >= until:
            self.drop(key)
            return None
        self._kept.move_to_end(key)
        return InstallationToken(text)

    def keep(self, key: Hashable, text: str, *, lives_seconds: float) -> None:
        """Remember a token that was made now and lives so long."""
        seconds = min(lives_seconds, LONGEST_SECONDS) - RENEWED_SECONDS_AHEAD
        self.drop(key)
        if seconds <= 0:
            return
        self._kept[key] = (self._clock() + seconds, text)
        if len(self._kept) > LIMIT:
            self._kept.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        self._kept.pop(key, None)

    def __repr__(self) -> str:
        return f"InstallationTokens(kept={len(self._kept)})"
