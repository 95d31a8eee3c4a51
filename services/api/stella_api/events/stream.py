"""What one stream sends: its tenant's events from a place on, no gap and no repetition."""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from stella_api.authentication import Actor
from stella_api.events.places import Places
from stella_api.events.watch import Listener
from stella_contracts.errors import Unavailable
from stella_contracts.event_filters import is_wanted
from stella_runtime.persistence import Database
from stella_runtime.persistence.events import START, EventPage, StoredEvent
from stella_runtime.telemetry import tracing

log = structlog.get_logger()

PAGE = 100
RETRY_MILLISECONDS = (1000, 3000)
"""When a client comes back, not all of them at once."""
FIRST_SECOND_LOOK = 0.01
LAST_SECOND_LOOK = 0.5

AWAY_SECONDS = 1.0

CAUGHT_UP = "caught_up"
TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a reason
STOPPING = "server_stopping"
TOO_SLOW = "too_slow"
GONE = "client_gone"

ID_UNKNOWN = "unknown_id"
ID_EXPIRED = "retention"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a subscriber asked for. Without anything: all of the tenant's, from now on."""

    types: Sequence[str] = ()
    integration_id: UUID | None = None
    last_event_id: str | None = None
    since: datetime | None = None
    follow: bool = True

    def takes(self, event: StoredEvent) -> bool:
        if not is_wanted(event.type, self.types):
            return False
        if self.integration_id is None:
            return True
        data = json.loads(event.body).get("data", {})
        return bool(data.get("integrationId") == str(self.integration_id))


class EventStream:
    """
    Reads with short transactions, a page at a time, and only as fast as its frames are taken.

    To be opened, then iterated once.
    """

    def __init__(
        self,
        database: Database,
        places: Places,
        actor: Actor,
        wanted: Wanted,
        listener: Listener,
        *,
        reading: asyncio.Semaphore,
        heartbeat_seconds: float,
        ended: Callable[[str], None],
    ) -> None:
        self._database = database
        self._places = places
        self._actor = actor
        self._wanted = wanted
        self._listener = listener
        self._reading = reading
        self._heartbeat_seconds = heartbeat_seconds
        self._ended = ended
        self._looks = _Looks()
        self._place = START
        self._forgiven = START
        """Deletions up to here have been told, or were before anything that is wanted."""
        self._reset: str | None = None
        self._told = START
        """The place of the last id that was sent."""
        self._told_at = 0.0
        self._has_ended = False

    async def open(self) -> None:
        """Find out where to begin. Raises DatabaseUnavailable."""
        wanted, tenant_id = self._wanted, self._actor.tenant_id
        async with self._database.transaction(tenant_id) as transaction:
            head = await transaction.events.head()
        if wanted.last_event_id is None:
            self._place = head.settled if wanted.since is None else START
            self._forgiven = head.deleted_to
            return
        found = self._places.find(wanted.last_event_id, tenant_id=tenant_id)
        if found is None or found > head.next:
            # Of another tenant, another key, or a database that was put back since.
            self._place, self._forgiven = head.settled, head.deleted_to
            self._reset = ID_UNKNOWN
        else:
            self._place = found

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events, the last one being `end` with its reason."""
        yield f"retry: {random.randint(*RETRY_MILLISECONDS)}\n".encode() + self._beat()  # noqa: S311
        if self._reset is not None:
            yield self._reset_frame(self._reset)
        while (end := self._end()) is None:
            self._listener.news.clear()
            page = await self._read()
            if page is not None:
                for frame in self._frames_of(page):
                    self._told_at = time.monotonic()
                    yield frame
                if len(page.events) == PAGE:
                    continue
            pause = self._looks.pause_after(page)
            if pause is None and not self._wanted.follow:
                end = CAUGHT_UP
                break
            if time.monotonic() - self._told_at >= self._heartbeat_seconds:
                yield self._beat()
            await self._rest(pause)
        yield self.end_frame(end)

    def end_frame(self, reason: str) -> bytes:
        """The last thing that is sent, by the stream itself or in place of the rest."""
        self.end(reason)
        return _frame("end", json.dumps({"reason": reason}))

    def end(self, reason: str) -> None:
        """Tell why it ends. The first reason counts."""
        if not self._has_ended:
            self._has_ended = True
            self._ended(reason)

    def _end(self) -> str | None:
        if self._listener.closing:
            return STOPPING
        return TOKEN_EXPIRED if time.time() >= self._actor.expires_at else None

    async def _read(self) -> EventPage | None:
        """The next page, or None while the database is away."""
        try:
            async with (
                self._reading,
                self._database.transaction(self._actor.tenant_id) as transaction,
            ):
                return await transaction.events.read(
                    self._place, limit=PAGE, since=self._wanted.since
                )
        except Unavailable as error:
            log.warning("events_not_read", reason=str(error))
            return None

    def _frames_of(self, page: EventPage) -> Sequence[bytes]:
        frames = []
        if page.deleted_to > max(self._forgiven, self._place):
            frames.append(self._reset_frame(ID_EXPIRED))
        self._forgiven = max(self._forgiven, page.deleted_to)
        for event in page.events:
            self._place = event.place
            if self._wanted.takes(event):
                frames.append(self._frame_of(event))
        self._place = page.place
        return frames

    def _frame_of(self, event: StoredEvent) -> bytes:
        with (
            tracing.resumed(tracing.headers_of(event.body)),
            tracing.span("stream event", tenant_id=self._actor.tenant_id, message_id=str(event.id)),
        ):
            return _frame(event.type, event.body.decode(), event_id=self._id())

    def _reset_frame(self, reason: str) -> bytes:
        return _frame("reset", json.dumps({"reason": reason}), event_id=self._id())

    def _beat(self) -> bytes:
        """
        A comment, so that nobody on the way takes the connection for dead. Its id moves a client
        on past what is not for it, without an event.
        """
        self._told_at = time.monotonic()
        if self._told == self._place:
            return b": heartbeat\n\n"
        return f": heartbeat\nid: {self._id()}\n\n".encode()

    def _id(self) -> str:
        self._told = self._place
        return self._places.write(self._place, tenant_id=self._actor.tenant_id)

    async def _rest(self, pause: float | None) -> None:
        """Until there are news, or something is to be done without any."""
        beat = self._told_at + self._heartbeat_seconds - time.monotonic()
        token = self._actor.expires_at - time.time()
        seconds = min(beat, token, *([] if pause is None else [pause]))
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._listener.news.wait()


class _Looks:
    """
    Whether to look again without being told.

    Behind a transaction that still runs, events that are committed already wait to be settled.
    They are looked for soon after, until all is settled that had begun at the first look.
    """

    def __init__(self) -> None:
        self._wanted: int | None = None
        self._pause = FIRST_SECOND_LOOK

    def pause_after(self, page: EventPage | None) -> float | None:
        """Seconds until the next look, or None when nothing waits. Without a page, a second."""
        if page is None:
            return AWAY_SECONDS
        wanted = page.next_transaction if self._wanted is None else self._wanted
        if page.settled_at >= wanted:
            self._wanted, self._pause = None, FIRST_SECOND_LOOK
            return None
        self._wanted = wanted
        pause, self._pause = self._pause, min(self._pause * 2, LAST_SECOND_LOOK)
        return pause


def _frame(event: str, data: str, *, event_id: str | None = None) -> bytes:
    first = "" if event_id is None else f"id: {event_id}\n"
    return f"{first}event: {event}\ndata: {data}\n\n".encode()
