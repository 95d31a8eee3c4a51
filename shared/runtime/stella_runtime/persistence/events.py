"""
The committed events of a tenant, in an order that can be resumed.

They are rows of the outbox, for as long as it keeps them. Their order is that of the transactions
that wrote them, and only transactions below the oldest one that still runs are read: what is
committed later has a later place, so a reader that remembers its place misses nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_runtime.persistence.base import Base, TenantOwned


class EventHorizonRow(TenantOwned, Base):
    """Up to where a tenant's events have been deleted."""

    __tablename__ = "event_horizons"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    transaction_id: Mapped[int] = mapped_column(BigInteger)
    sequence: Mapped[int] = mapped_column(BigInteger)


class Place(NamedTuple):
    """A place in the order of events. Those behind it are greater."""

    transaction_id: int
    sequence: int


START = Place(0, 0)
"""Before every event."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A committed event. `body` is the CloudEvent in JSON, on one line."""

    place: Place
    id: UUID
    type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class EventPage:
    """What one look found."""

    events: Sequence[StoredEvent]
    place: Place
    """Up to here everything has been read. Never before the place that was asked for."""
    deleted_to: Place
    """The last event that retention has deleted."""
    settled_at: int
    """All transactions below this one are over."""
    next_transaction: int
    """All that have begun lie below this one. Equal to `settled_at` while nobody writes."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where the order of events ends now."""

    settled: Place
    """Behind it lies what is still to come, and what has just been committed."""
    next: Place
    """Nothing has a place behind this one."""
    deleted_to: Place
    """The last event that retention has deleted."""


_HEAD = text(
    """
    select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as settled_at,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next_transaction,
           h.transaction_id as deleted_transaction, h.sequence as deleted_sequence
    from (values (1)) one left join event_horizons h on h.tenant_id = :tenant_id
    """
)
_READ = text(
    """
    with now_at as materialized (
        select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as settled_at,
               pg_snapshot_xmax(pg_current_snapshot())::text::bigint as next_transaction
    ), page as (
        select o.transaction_id, o.sequence, o.id, o.event_type, o.body
        from outbox o, now_at
        where o.tenant_id = :tenant_id
          and (o.transaction_id, o.sequence) > (:transaction_id, :sequence)
          and o.transaction_id < now_at.settled_at
          and (cast(:since as timestamptz) is null or o.created_at >= :since)
        order by o.transaction_id, o.sequence
        limit :limit
    )
    select n.settled_at, n.next_transaction, h.transaction_id as deleted_transaction,
           h.sequence as deleted_sequence,
           p.transaction_id, p.sequence, p.id, p.event_type, p.body
    from now_at n
    left join event_horizons h on h.tenant_id = :tenant_id
    left join page p on true
    order by p.transaction_id, p.sequence
    """
)


class Events:
    """The events of the session's tenant."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def head(self) -> Head:
        row = (await self._session.execute(_HEAD, {"tenant_id": self._tenant_id})).one()
        return Head(
            settled=Place(row.settled_at, 0),
            next=Place(row.next_transaction, 0),
            deleted_to=_deleted(row),
        )

    async def read(self, after: Place, *, limit: int, since: datetime | None = None) -> EventPage:
        """At most `limit` events behind a place, of those that were written from `since` on."""
        rows = (
            await self._session.execute(
                _READ,
                {
                    "tenant_id": self._tenant_id,
                    "transaction_id": after.transaction_id,
                    "sequence": after.sequence,
                    "since": since,
                    "limit": limit,
                },
            )
        ).all()
        events = [
            StoredEvent(
                place=Place(row.transaction_id, row.sequence),
                id=row.id,
                type=row.event_type,
                body=row.body,
            )
            for row in rows
            if row.id is not None
        ]
        first = rows[0]
        # A full page may not be the last; any other has seen all that is settled.
        reached = events[-1].place if len(events) == limit else Place(first.settled_at, 0)
        return EventPage(
            events=events,
            place=max(after, reached),
            deleted_to=_deleted(first),
            settled_at=first.settled_at,
            next_transaction=first.next_transaction,
        )


def _deleted(row: Any) -> Place:
    if row.deleted_transaction is None:
        return START
    return Place(row.deleted_transaction, row.deleted_sequence)


_NEWS = text(
    """
    with now_at as materialized (
        select pg_snapshot_xmin(pg_current_snapshot())::text::bigint as settled_at)
    select n.settled_at, array(
        select t.tenant_id from unnest(cast(:tenants as text[])) t (tenant_id)
        where exists (
            select from outbox o
            where o.tenant_id = t.tenant_id
              and o.transaction_id >= :since and o.transaction_id < n.settled_at)
    ) as tenants
    from now_at n
    """
)


@dataclass(frozen=True, slots=True)
class News:
    """Which tenants have events that were settled between two looks."""

    tenants: frozenset[str]
    settled_at: int


class EventNews:
    """The look across tenants by which a process finds out whose events to read."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def look(self, tenants: Sequence[str], *, since: int) -> News:
        """Of these tenants, those with events of transactions from `since` on."""
        row = (await self._session.execute(_NEWS, {"tenants": list(tenants), "since": since})).one()
        return News(tenants=frozenset(row.tenants), settled_at=row.settled_at)
