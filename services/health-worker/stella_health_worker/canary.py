"""Hosts that are always there: while none of them answers, it is we who have no way out."""

import asyncio
from collections.abc import Callable, Sequence

CONNECT_SECONDS = 2.0
FRESH_SECONDS = 5.0
"""How long an answer is taken for the present one."""


class Canary:
    """Connects to the canaries when somebody wants to know, for all who do at that time."""

    def __init__(self, hosts: Sequence[tuple[str, int]], now: Callable[[], float]) -> None:
        self._hosts = hosts
        self._now = now
        self._asking = asyncio.Lock()
        self._sings = True
        self._asked_at = float("-inf")

    async def sings(self) -> bool:
        """Whether any of them takes a connection."""
        async with self._asking:
            if self._now() - self._asked_at >= FRESH_SECONDS:
                answers = await asyncio.gather(*(_is_there(*host) for host in self._hosts))
                self._sings = any(answers)
                self._asked_at = self._now()
            return self._sings


async def _is_there(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        # TimeoutError and the failures of names are OSErrors as well.
        return False
    writer.close()
    return True
