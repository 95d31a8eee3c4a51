"""Table `outbox`: what is committed and still has to be published."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson
from sqlalchemy import BigInteger, Identity, LargeBinary, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.messages import NO_TENANT, DiscoverPlugins, Event, RunRequestedCheck
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.relay import OutboxMessage
from stella_runtime.messaging.topology import COMMANDS, DISCOVER, EVENTS, ON_DEMAND
from stella_runtime.persistence.base import Base, JsonColumn, JsonObject, MomentColumn
from stella_runtime.telemetry import tracing

LEASE = timedelta(seconds=30)
"""A relay that died gives its messages back after this long."""


class OutboxRow(Base):
    __tablename__ = "outbox"

    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    id: Mapped[UUID]
    ordering_key: Mapped[str]
    exchange: Mapped[str]
    routing_key: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary)
    headers: Mapped[JsonObject] = mapped_column(JsonColumn)
    created_at: Mapped[datetime] = mapped_column(MomentColumn)
    attempts: Mapped[int]
    available_at: Mapped[datetime] = mapped_column(MomentColumn)
    leased_until: Mapped[datetime | None] = mapped_column(MomentColumn)
    published_at: Mapped[datetime | None] = mapped_column(MomentColumn)
    tenant_id: Mapped[str | None]
    event_type: Mapped[str | None]
    transaction_id: Mapped[int] = mapped_column(BigInteger)


_INSERT = text(
    """
    insert into outbox
        (id, ordering_key, exchange, routing_key, body, headers, tenant_id, event_type)
    select id, ordering_key, exchange, routing_key, body, cast(headers as jsonb), tenant_id,
        event_type
    from unnest(cast(:ids as uuid[]), cast(:ordering_keys as text[]),
        cast(:exchanges as text[]), cast(:routing_keys as text[]), cast(:bodies as bytea[]),
        cast(:headers as text[]), cast(:tenant_ids as text[]), cast(:event_types as text[]))
        as added (id, ordering_key, exchange, routing_key, body, headers, tenant_id, event_type)
    """
)

# Claims are made one after another, so that a relay sees what the others have claimed: of one
# ordering key, nothing is claimed while an earlier message is under way or waits for a retry.
_CLAIM_LOCK = text("select pg_advisory_xact_lock(hashtext('stella.outbox.claim'))")
_CLAIM = text(
    """
    update outbox set leased_until = now() + cast(:lease as interval), attempts = attempts + 1
    where sequence in (
        select o.sequence from outbox o
        where o.published_at is null and o.available_at <= now()
          and (o.leased_until is null or o.leased_until < now())
          and not exists (
              select 1 from outbox e
              where e.ordering_key = o.ordering_key and e.sequence < o.sequence
                and e.published_at is null
                and (e.leased_until >= now() or e.available_at > now()))
        order by o.sequence limit :limit)
    returning sequence, ordering_key, id, exchange, routing_key, body, headers
    """
).columns(headers=JsonColumn)
_MARK = text(
    "update outbox set published_at = now(), leased_until = null"
    " where sequence = any(cast(:sequences as bigint[]))"
)
_RELEASE = text(
    """
    update outbox set leased_until = null,
        available_at = now() + least(power(2, least(attempts, 6)), 60) * interval '1 second'
    where sequence = any(cast(:sequences as bigint[]))
    """
)
# What is deleted of a tenant's events is remembered in the same step: see `events`.
_PURGE = text(
    """
    with gone as (
        delete from outbox where published_at < now() - cast(:age as interval)
        returning tenant_id, transaction_id, sequence)
    insert into event_horizons as h (tenant_id, transaction_id, sequence)
    select distinct on (tenant_id) tenant_id, transaction_id, sequence
    from gone where tenant_id is not null
    order by tenant_id, transaction_id desc, sequence desc
    on conflict (tenant_id) do update
        set transaction_id = excluded.transaction_id, sequence = excluded.sequence
        where (h.transaction_id, h.sequence) < (excluded.transaction_id, excluded.sequence)
    """
)
_LAG = text("select count(*), min(created_at) from outbox where published_at is null")


@dataclass(frozen=True, slots=True)
class Lag:
    """What waits to be published."""

    messages: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class _Added:
    """A message of this transaction; of an event also whose and what it is."""

    ordering_key: str
    message: Message
    tenant_id: str | None = None
    event_type: str | None = None


class Outbox:
    """Adds messages to the transaction they belong to. They leave when it is committed."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._added: list[_Added] = []

    @property
    def used(self) -> bool:
        return bool(self._added)

    def report(self, event: Event) -> None:
        """Announce an event. Events of one subject are published in the order of commits."""
        headers = tracing.carried()
        if headers:
            event = event.model_copy(update={tracing.TRACEPARENT: headers[tracing.TRACEPARENT]})
        message = Message(
            id=str(event.id),
            exchange=EVENTS,
            routing_key=event.routing_key,
            body=event.to_json(),
            headers=headers,
        )
        tenant_id = None if event.tenantid == NO_TENANT else event.tenantid
        self._added.append(_Added(event.subject, message, tenant_id, event.type))

    def ask(self, command: RunRequestedCheck | DiscoverPlugins) -> None:
        """Send a command to its queue."""
        if isinstance(command, RunRequestedCheck):
            command_id, queue = command.check_id, ON_DEMAND
        else:
            command_id, queue = command.scan_id, DISCOVER
        message = Message(
            id=str(command_id),
            exchange=COMMANDS,
            routing_key=queue,
            body=command.model_dump_json().encode(),
            headers=tracing.carried(),
        )
        self._added.append(_Added(str(command_id), message))

    async def flush(self) -> None:
        """Write what was added. The transaction does this just before it commits."""
        if not self._added:
            return
        messages = [each.message for each in self._added]
        await self._session.execute(
            _INSERT,
            {
                "ids": [UUID(message.id) for message in messages],
                "ordering_keys": [each.ordering_key for each in self._added],
                "exchanges": [message.exchange for message in messages],
                "routing_keys": [message.routing_key for message in messages],
                "bodies": [message.body for message in messages],
                "tenant_ids": [each.tenant_id for each in self._added],
                "event_types": [each.event_type for each in self._added],
                "headers": [orjson.dumps(dict(message.headers)).decode() for message in messages],
            },
        )

    async def claim(self, limit: int) -> Sequence[OutboxMessage]:
        """Lease the oldest messages that may be published now, in order."""
        await self._session.execute(_CLAIM_LOCK)
        rows = await self._session.execute(_CLAIM, {"lease": LEASE, "limit": limit})
        return [
            OutboxMessage(
                sequence=row.sequence,
                ordering_key=row.ordering_key,
                message=Message(
                    id=str(row.id),
                    exchange=row.exchange,
                    routing_key=row.routing_key,
                    body=row.body,
                    headers=row.headers,
                ),
            )
            for row in sorted(rows, key=lambda row: row.sequence)
        ]

    async def mark_published(self, sequences: Sequence[int]) -> None:
        await self._session.execute(_MARK, {"sequences": list(sequences)})

    async def release(self, sequences: Sequence[int]) -> None:
        """Give back what could not be published: due again after 2, 4, 8 … 60 s."""
        await self._session.execute(_RELEASE, {"sequences": list(sequences)})

    async def purge(self, age: timedelta) -> None:
        """Delete what was published longer than `age` ago."""
        await self._session.execute(_PURGE, {"age": age})

    async def lag(self) -> Lag:
        row = (await self._session.execute(_LAG)).one()
        return Lag(messages=row[0], oldest=row[1])
