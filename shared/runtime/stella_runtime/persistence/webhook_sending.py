"""
What the workers do with webhooks, across tenants: lease endpoints, and record how tries went.

An endpoint is leased as a whole and its deliveries are sent one at a time, so that it is never
called twice at once and those of one subject keep their order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stella_contracts.webhooks import DeliveryAttempt, DeliveryState

KEPT_ATTEMPTS = 20

_CLAIM = text(
    """
    update webhook_state
    set leased_until = now() + cast(:lease as interval), lease_token = lease_token + 1
    where webhook_id in (
        select s.webhook_id from webhook_state s join webhooks w on w.id = s.webhook_id
        where s.due_at <= now() and (s.not_before is null or s.not_before <= now())
          and (s.leased_until is null or s.leased_until < now())
          and w.enabled and s.disabled_reason is distinct from 'gone'
          and (s.consecutive_failures > 0) = :failing
        order by s.due_at limit :limit
        for update of s skip locked)
    returning webhook_id, lease_token
    """
)
_HEADS = """
    d.webhook_id = :webhook_id and d.state = 'pending'
    and not exists (
        select from webhook_deliveries e
        where e.webhook_id = d.webhook_id and e.subject = d.subject and e.state = 'pending'
          and (e.transaction_id, e.sequence) < (d.transaction_id, d.sequence))
"""
_NEXT = text(
    f"""
    select d.id, d.event_id, d.event_type, d.body, d.tries, w.tenant_id, w.url, w.auth_ref_uri,
           s.consecutive_failures, s.failing_since, s.disabled_reason
    from webhook_state s join webhooks w on w.id = s.webhook_id
    join lateral (
        select * from webhook_deliveries d where {_HEADS} and d.next_attempt_at <= now()
        order by d.transaction_id, d.sequence limit 1) d on true
    where s.webhook_id = :webhook_id and s.lease_token = :lease_token and w.enabled
      and s.disabled_reason is distinct from 'gone'
      and (s.not_before is null or s.not_before <= now())
    """
)
_HOLD = text(
    """
    update webhook_state set leased_until = now() + cast(:lease as interval)
    where webhook_id = :webhook_id and lease_token = :lease_token
    returning webhook_id
    """
)
# Not an update, where another one follows: of a row that this transaction has written already,
# PostgreSQL checks the foreign key again, and so would wait for who holds the webhook.
_LOCK = text(
    """
    select webhook_id from webhook_state
    where webhook_id = :webhook_id and lease_token = :lease_token
    for update
    """
)
_RECORD_DELIVERY = text(
    """
    update webhook_deliveries
    set tries = tries + 1, state = :state,
        next_attempt_at = cast(:next_attempt_at as timestamptz),
        finished_at = case when :state = 'pending' then null else now() end,
        attempts = (
            select jsonb_agg(kept.value order by kept.place) from (
                select value, place
                from jsonb_array_elements(attempts || cast(:attempt as jsonb))
                    with ordinality all_of_them (value, place)
                order by place desc limit :kept) kept)
    where id = :id and state = 'pending'
    """
)
_RECORD_ENDPOINT = text(
    """
    update webhook_state
    set leased_until = now() + cast(:lease as interval),
        consecutive_failures = :consecutive_failures,
        failing_since = cast(:failing_since as timestamptz),
        not_before = cast(:not_before as timestamptz),
        disabled_at = case when cast(:disabled_reason as text) is null then null
            else coalesce(disabled_at, now()) end,
        disabled_reason = cast(:disabled_reason as text),
        last_success_at = case when :succeeded then now() else last_success_at end,
        last_failure_at = case when :succeeded then last_failure_at else now() end,
        last_error = case when :succeeded then last_error else :error end
    where webhook_id = :webhook_id
    """
)
_FREE = text(
    f"""
    update webhook_state set leased_until = null,
        due_at = (select min(d.next_attempt_at) from webhook_deliveries d where {_HEADS})
    where webhook_id = :webhook_id
    """
)


@dataclass(frozen=True, slots=True)
class Lease:
    """An endpoint that is ours for a while. A later lease has a higher token."""

    webhook_id: UUID
    token: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is known of how an endpoint does."""

    consecutive_failures: int = 0
    failing_since: datetime | None = None
    disabled_reason: str | None = None
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Parcel:
    """The delivery that is next for an endpoint."""

    delivery_id: UUID
    webhook_id: UUID
    tenant_id: str
    event_id: UUID
    event_type: str
    body: bytes
    tries: int
    url: str
    auth_ref_uri: str
    endpoint: Endpoint


class WebhookSending:
    """Endpoints of every tenant."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def claim(self, limit: int, *, lease: timedelta, failing: bool) -> Sequence[Lease]:
        """Lease endpoints with something to send, of those that work or of those that fail."""
        rows = await self._session.execute(
            _CLAIM, {"limit": limit, "lease": lease, "failing": failing}
        )
        return [Lease(row.webhook_id, row.lease_token) for row in rows]

    async def find_next(self, lease: Lease, *, hold: timedelta) -> Parcel | None:
        """What to send now, the lease being held on; None if nothing, or it is not ours."""
        held = await self._session.scalar(
            _HOLD,
            {"webhook_id": lease.webhook_id, "lease_token": lease.token, "lease": hold},
        )
        if held is None:
            return None
        row = (
            await self._session.execute(
                _NEXT, {"webhook_id": lease.webhook_id, "lease_token": lease.token}
            )
        ).one_or_none()
        if row is None:
            return None
        return Parcel(
            delivery_id=row.id,
            webhook_id=lease.webhook_id,
            tenant_id=row.tenant_id,
            event_id=row.event_id,
            event_type=row.event_type,
            body=row.body,
            tries=row.tries,
            url=row.url,
            auth_ref_uri=row.auth_ref_uri,
            endpoint=Endpoint(
                consecutive_failures=row.consecutive_failures,
                failing_since=row.failing_since,
                disabled_reason=row.disabled_reason,
            ),
        )

    async def record(
        self,
        lease: Lease,
        parcel: Parcel,
        attempt: DeliveryAttempt,
        *,
        state: DeliveryState,
        next_attempt_at: datetime | None,
        endpoint: Endpoint,
        hold: timedelta,
    ) -> bool:
        """Store how a try went. False, and nothing stored, if the lease is not ours any more."""
        if not await self._is_ours(lease):
            return False
        await self._session.execute(
            _RECORD_DELIVERY,
            {
                "id": parcel.delivery_id,
                "state": state.value,
                "next_attempt_at": next_attempt_at,
                "attempt": f"[{attempt.model_dump_json()}]",
                "kept": KEPT_ATTEMPTS,
            },
        )
        await self._session.execute(
            _RECORD_ENDPOINT,
            {
                "webhook_id": lease.webhook_id,
                "lease": hold,
                "consecutive_failures": endpoint.consecutive_failures,
                "failing_since": endpoint.failing_since,
                "not_before": endpoint.not_before,
                "disabled_reason": endpoint.disabled_reason,
                "succeeded": attempt.error is None,
                "error": attempt.error,
            },
        )
        return True

    async def free(self, lease: Lease) -> None:
        """Give the endpoint back, due when its next delivery is."""
        # Locked first: what is queued meanwhile is seen by the second statement, or comes after.
        if await self._is_ours(lease):
            await self._session.execute(_FREE, {"webhook_id": lease.webhook_id})

    async def _is_ours(self, lease: Lease) -> bool:
        """Hold the row, and say whether the lease is still the latest."""
        found = await self._session.scalar(
            _LOCK, {"webhook_id": lease.webhook_id, "lease_token": lease.token}
        )
        return found is not None
