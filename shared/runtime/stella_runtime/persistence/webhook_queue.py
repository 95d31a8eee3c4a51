"""
From events to deliveries, across tenants: each event is queued once for each endpoint.

Events are read in the order of `events`, from a place that moves on in the transaction that queues
them; a unique key makes sure once more.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

_LOCK_CURSOR = text(
    "select transaction_id, sequence from webhook_cursor where id = 1 for update skip locked"
)
# The id is a UUIDv7 (28672 is its version), whose counter keeps the order of events within a
# millisecond. Endpoints are locked against being deleted meanwhile; what an endpoint's own
# events say is not for itself.
_QUEUE = text(
    """
    with page as materialized (
        select o.id, o.tenant_id, o.event_type, o.ordering_key as subject, o.body,
               o.transaction_id, o.sequence, o.created_at
        from outbox o
        where o.tenant_id is not null
          and (o.transaction_id, o.sequence) > (:transaction_id, :sequence)
          and o.transaction_id < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
        order by o.transaction_id, o.sequence
        limit :limit
    ), wanting as materialized (
        select w.id, w.tenant_id, w.event_types, w.created_at,
               (select count(*) from (
                    select from webhook_deliveries d
                    where d.webhook_id = w.id and d.state = 'pending' limit :most) waiting
               ) >= :most as is_full
        from webhooks w join webhook_state s on s.webhook_id = w.id
        where w.enabled and s.disabled_reason is distinct from 'gone'
          and w.tenant_id in (select tenant_id from page)
        for key share of w
    ), queued as (
        insert into webhook_deliveries (id, tenant_id, webhook_id, event_id, event_type, subject,
            body, transaction_id, sequence, state, next_attempt_at, finished_at)
        select encode(overlay(overlay(uuid_send(gen_random_uuid())
                   placing substring(int8send(
                       floor(extract(epoch from statement_timestamp()) * 1000)::bigint) from 3)
                   from 1 for 6)
                   placing substring(int8send(28672 + least(4095, row_number() over (
                       order by p.transaction_id, p.sequence))) from 7)
                   from 7 for 2), 'hex')::uuid,
               p.tenant_id, w.id, p.id, p.event_type, p.subject, p.body,
               p.transaction_id, p.sequence,
               case when w.is_full then 'dropped' else 'pending' end,
               case when w.is_full then null else now() end,
               case when w.is_full then now() end
        from page p join wanting w on w.tenant_id = p.tenant_id
        where p.created_at >= w.created_at and p.subject <> w.id::text
          and (w.event_types = '{}' or exists (
                  select from unnest(w.event_types) t
                  where p.event_type = t or starts_with(p.event_type, t || '.')))
        order by p.transaction_id, p.sequence
        on conflict do nothing
        returning webhook_id, state
    ), woken as (
        update webhook_state s set due_at = least(coalesce(s.due_at, 'infinity'), now())
        where s.webhook_id in (select webhook_id from queued where state = 'pending')
    ), moved as (
        update webhook_cursor c set transaction_id = p.transaction_id, sequence = p.sequence
        from (select transaction_id, sequence from page
              order by transaction_id desc, sequence desc limit 1) p
        where c.id = 1
    )
    select (select count(*) from page) as events, (select count(*) from queued) as deliveries
    """
)
_PURGE = text(
    """
    delete from webhook_deliveries where id in (
        select id from webhook_deliveries where created_at < now() - cast(:age as interval)
        order by created_at limit :limit for update skip locked)
    """
)


@dataclass(frozen=True, slots=True)
class Queued:
    """What one round of queueing did. None of it when somebody else is at it."""

    events: int = 0
    deliveries: int = 0


class WebhookQueue:
    """Any number of processes may queue; one does at a time."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def fill(self, *, limit: int, most_waiting: int) -> Queued:
        """
        Queue the next events for every endpoint that wants them, each once.

        An endpoint for which `most_waiting` wait already gets them as dropped.
        """
        cursor = (await self._session.execute(_LOCK_CURSOR)).one_or_none()
        if cursor is None:
            return Queued()
        row = (
            await self._session.execute(
                _QUEUE,
                {
                    "transaction_id": cursor.transaction_id,
                    "sequence": cursor.sequence,
                    "limit": limit,
                    "most": most_waiting,
                },
            )
        ).one()
        return Queued(events=row.events, deliveries=row.deliveries)

    async def purge(self, age: timedelta, *, limit: int) -> int:
        """Delete deliveries that were queued longer than `age` ago, some at a time."""
        done = await self._session.execute(_PURGE, {"age": age, "limit": limit})
        return int(getattr(done, "rowcount", 0))
