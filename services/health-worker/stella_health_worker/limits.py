"""How many checks of one host, and of one tenant, run at once in a worker."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from stella_runtime.egress.origins import Host

Key = Host | str
"""A host, or the name of a tenant."""


@dataclass(eq=False, slots=True)
class _Gate:
    """What is inside, and what waits, of one host or tenant."""

    limit: int
    inside: int = 0
    waiting: "deque[_Entry]" = field(default_factory=deque)


@dataclass(eq=False, slots=True)
class _Entry:
    """A check that waits to be let in; it stands at one gate at a time."""

    keys: Sequence[Key]
    let_in: "asyncio.Future[bool]"


class Limits:
    """
    Lets checks in by host and tenant, in the order in which they came.

    Who waits holds nothing. A host or tenant of which nothing runs takes no memory.
    """

    def __init__(self, *, per_host: int, per_tenant: int) -> None:
        self._per_host = per_host
        self._per_tenant = per_tenant
        self._gates: dict[Key, _Gate] = {}

    def inside(self, key: Key) -> int:
        """How many checks of a host, or of a tenant, run."""
        gate = self._gates.get(key)
        return 0 if gate is None else gate.inside

    def try_enter(self, keys: Sequence[Key]) -> bool:
        """Enter if there is room by all keys."""
        if self._full(keys) is not None:
            return False
        self.insist(keys)
        return True

    def insist(self, keys: Sequence[Key]) -> None:
        """Enter, room or not."""
        for key in keys:
            gate = self._gates.get(key)
            if gate is None:
                limit = self._per_tenant if isinstance(key, str) else self._per_host
                gate = self._gates[key] = _Gate(limit)
            gate.inside += 1

    async def enter(self, keys: Sequence[Key], seconds: float) -> bool:
        """Wait for room, so long at most, and say whether there was."""
        full = self._full(keys)
        if full is None:
            self.insist(keys)
            return True
        loop = asyncio.get_running_loop()
        entry = _Entry(keys, loop.create_future())
        full.waiting.append(entry)
        timer = loop.call_later(max(seconds, 0.0), _give_up, entry)
        try:
            return await entry.let_in
        except asyncio.CancelledError:
            if not entry.let_in.cancelled() and entry.let_in.result():
                self.leave(keys)
            raise
        finally:
            timer.cancel()

    def leave(self, keys: Sequence[Key]) -> None:
        """Make room again."""
        for key in keys:
            self._gates[key].inside -= 1
        for key in keys:
            gate = self._gates[key]
            if gate.waiting:
                self._let_in(gate)
            if not gate.inside:
                del self._gates[key]

    def _let_in(self, gate: _Gate) -> None:
        while gate.waiting and gate.inside < gate.limit:
            entry = gate.waiting.popleft()
            if entry.let_in.done():
                continue
            full = self._full(entry.keys)
            if full is None:
                self.insist(entry.keys)
                entry.let_in.set_result(True)
            else:
                full.waiting.append(entry)

    def _full(self, keys: Sequence[Key]) -> _Gate | None:
        for key in keys:
            gate = self._gates.get(key)
            if gate is not None and gate.inside >= gate.limit:
                return gate
        return None


def _give_up(entry: _Entry) -> None:
    if not entry.let_in.done():
        entry.let_in.set_result(False)
