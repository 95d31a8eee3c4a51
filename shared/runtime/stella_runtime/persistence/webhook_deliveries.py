"""Table `webhook_deliveries`: each event for each endpoint, once, with how it went."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import BigInteger, LargeBinary, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.errors import DeliveryNotFound
from stella_contracts.messages import Event
from stella_contracts.webhooks import Delivery, DeliveryAttempt, DeliveryState
from stella_runtime.ids import new_id
from stella_runtime.persistence.base import Base, JsonColumn, JsonObject, MomentColumn, TenantOwned


class WebhookDeliveryRow(TenantOwned, Base):
    __tablename__ = "webhook_deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    webhook_id: Mapped[UUID]
    event_id: Mapped[UUID]
    event_type: Mapped[str]
    subject: Mapped[str]
    body: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    transaction_id: Mapped[int] = mapped_column(BigInteger)
    sequence: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    tries: Mapped[int]
    next_attempt_at: Mapped[datetime | None] = mapped_column(MomentColumn)
    attempts: Mapped[list[JsonObject]] = mapped_column(JsonColumn)
    created_at: Mapped[datetime] = mapped_column(MomentColumn)
    finished_at: Mapped[datetime | None] = mapped_column(MomentColumn)


_AGAIN = {
    "state": DeliveryState.PENDING.value,
    "tries": 0,
    "next_attempt_at": func.now(),
    "finished_at": None,
}
_THIS_TRANSACTION = text("select pg_current_xact_id()::text::bigint")


class WebhookDeliveries:
    """The delivery log of the session's tenant."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def add(self, webhook_id: UUID, event: Event) -> Delivery:
        """Queue an event for one endpoint alone."""
        row = WebhookDeliveryRow(
            id=new_id(),
            tenant_id=self._tenant_id,
            webhook_id=webhook_id,
            event_id=event.id,
            event_type=event.type,
            subject=event.subject,
            body=event.to_json(),
            transaction_id=await self._session.scalar(_THIS_TRANSACTION),
            sequence=0,
            state=DeliveryState.PENDING,
            tries=0,
            next_attempt_at=datetime.now(UTC),
            attempts=[],
            created_at=datetime.now(UTC),
        )
        self._session.add(row)
        await self._session.flush()
        return _delivery(row)

    async def get(self, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Raises DeliveryNotFound."""
        row = await self._session.scalar(
            select(WebhookDeliveryRow).where(
                WebhookDeliveryRow.webhook_id == webhook_id, WebhookDeliveryRow.id == delivery_id
            )
        )
        if row is None:
            raise DeliveryNotFound(delivery_id)
        return _delivery(row)

    async def list_page(
        self,
        webhook_id: UUID,
        *,
        state: DeliveryState | None,
        limit: int,
        before: UUID | None,
    ) -> Sequence[Delivery]:
        """At most `limit` deliveries, newest first, that are older than `before`."""
        query = select(WebhookDeliveryRow).where(WebhookDeliveryRow.webhook_id == webhook_id)
        if state is not None:
            query = query.where(WebhookDeliveryRow.state == state)
        if before is not None:
            query = query.where(WebhookDeliveryRow.id < before)
        rows = await self._session.scalars(
            query.order_by(WebhookDeliveryRow.id.desc()).limit(limit)
        )
        return [_delivery(row) for row in rows]

    async def replay(self, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Queue a delivery again, with the same event and id. Raises DeliveryNotFound."""
        await self._session.execute(
            update(WebhookDeliveryRow)
            .where(WebhookDeliveryRow.webhook_id == webhook_id)
            .where(WebhookDeliveryRow.id == delivery_id)
            .values(_AGAIN)
            .execution_options(synchronize_session=False)
        )
        return await self.get(webhook_id, delivery_id)

    async def replay_since(
        self, webhook_id: UUID, since: datetime, *, only_failed: bool, limit: int
    ) -> int:
        """Queue again what was queued since a moment, oldest first. Returns how many."""
        states = [DeliveryState.FAILED, DeliveryState.DROPPED]
        if not only_failed:
            states.append(DeliveryState.DELIVERED)
        chosen = (
            select(WebhookDeliveryRow.id)
            .where(
                WebhookDeliveryRow.webhook_id == webhook_id,
                WebhookDeliveryRow.created_at >= since,
                WebhookDeliveryRow.state.in_(states),
            )
            .order_by(WebhookDeliveryRow.id)
            .limit(limit)
        )
        found = await self._session.scalars(
            update(WebhookDeliveryRow)
            .where(WebhookDeliveryRow.id.in_(chosen))
            .values(_AGAIN)
            .returning(WebhookDeliveryRow.id)
            .execution_options(synchronize_session=False)
        )
        return len(found.all())


def _delivery(row: WebhookDeliveryRow) -> Delivery:
    return Delivery(
        id=row.id,
        webhook_id=row.webhook_id,
        event_id=row.event_id,
        event_type=row.event_type,
        subject=row.subject,
        state=DeliveryState(row.state),
        tries=row.tries,
        attempts=[DeliveryAttempt.model_validate(each) for each in row.attempts],
        next_attempt_at=row.next_attempt_at if row.state == DeliveryState.PENDING else None,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
