"""How long to wait between tries."""

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """
    Twice as long each time up to a limit, then anything between half and all of it.

    The spread keeps processes that lost the same server from coming back in step.
    """

    first: float = 0.1
    limit: float = 5.0
    _tries: int = field(default=0, init=False)

    @property
    def tries(self) -> int:
        """How many since the last success."""
        return self._tries

    def succeeded(self) -> None:
        self._tries = 0

    def next(self) -> float:
        """Seconds to wait now."""
        longest = min(self.limit, self.first * float(1 << min(self._tries, 16)))
        self._tries += 1
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
