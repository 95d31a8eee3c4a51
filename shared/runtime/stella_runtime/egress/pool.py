"""Keeps connections for the next request of the same route, and bounds how many there are."""

import asyncio
from dataclasses import dataclass, field

from stella_contracts.health import StepResult
from stella_contracts.plugin import Steps
from stella_runtime.egress.connection import Connection
from stella_runtime.egress.dialler import Dialler, Route

CONNECTIONS = 1000
CONNECTIONS_PER_HOST = 100
OPEN_AND_KEPT = 256
"""While more connections than this are open, one is closed after its answer."""
KEPT_SECONDS = 5.0


@dataclass(eq=False, slots=True)
class _Place:
    """The connections of one route."""

    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTIONS_PER_HOST))
    wanted: int = 0
    """By how many requests, those included that have one."""
    idle: list[Connection] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Lent:
    """A connection for one request. It must be given back, in whatever state it is."""

    connection: Connection
    route: Route
    was_reused: bool


class Pool:
    """The connections of one process."""

    def __init__(self, dialler: Dialler) -> None:
        self._dialler = dialler
        self._room = asyncio.Semaphore(CONNECTIONS)
        self._places: dict[Route, _Place] = {}
        self._open: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    async def lend(self, route: Route, steps: Steps, *, fresh: bool = False) -> Lent:
        """
        One that is kept, unless it must be fresh, or a new one. Waits while there are too many.

        Adds to the steps what was done for it. Raises what `Dialler.dial` raises.
        """
        place = self._places.get(route)
        if place is None:
            place = self._places[route] = _Place()
        place.wanted += 1
        try:
            await place.room.acquire()
            try:
                await self._room.acquire()
                try:
                    return await self._lent(place, route, steps, fresh=fresh)
                except BaseException:
                    self._room.release()
                    raise
            except BaseException:
                place.room.release()
                raise
        except BaseException:
            place.wanted -= 1
            self._tidy(route, place)
            raise

    def give_back(self, lent: Lent) -> None:
        """Keep the connection if it can carry another request, or close it."""
        place = self._places[lent.route]
        place.wanted -= 1
        place.room.release()
        self._room.release()
        if lent.connection.end():
            if len(self._open) > OPEN_AND_KEPT:
                lent.connection.abort()
            else:
                self._keep(place, lent.connection)
        self._tidy(lent.route, place)

    def close(self) -> None:
        """Close every connection, whoever has it."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in list(self._open):
            connection.abort()

    async def _lent(self, place: _Place, route: Route, steps: Steps, *, fresh: bool) -> Lent:
        while place.idle and not fresh:
            connection = place.idle.pop()
            if connection.is_open:
                _say_reused(steps, is_tls=route.origin.scheme == "https")
                return Lent(connection, route, was_reused=True)
        connection = await self._dialler.dial(route, steps, self._open.discard)
        if connection.is_open:
            self._open.add(connection)
        return Lent(connection, route, was_reused=False)

    def _keep(self, place: _Place, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        place.idle.append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(KEPT_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Close what was not used for long. One timer for all costs a request nothing."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEPT_SECONDS
        for route, place in list(self._places.items()):
            kept = [each for each in place.idle if each.is_open and each.idle_since > oldest]
            for each in place.idle:
                if each not in kept:
                    each.abort()
            place.idle = kept
            self._tidy(route, place)
        is_anything_kept = any(place.idle for place in self._places.values())
        self._sweeping = loop.call_later(KEPT_SECONDS, self._sweep) if is_anything_kept else None

    def _tidy(self, route: Route, place: _Place) -> None:
        if not place.wanted and not place.idle:
            del self._places[route]


def _say_reused(steps: Steps, *, is_tls: bool) -> None:
    """Say so once a check: the other requests of a check always share its connection."""
    if any(step.name == "connect" for step in steps.taken):
        return
    steps.add("connect", StepResult.SKIPPED)
    if is_tls:
        steps.add("tls", StepResult.SKIPPED)
