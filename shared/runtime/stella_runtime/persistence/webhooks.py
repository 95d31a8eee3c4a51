"""Tables `webhooks` and `webhook_state`: the endpoints of a tenant, and how they are."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import BigInteger, delete, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import TooManyWebhooks, VersionMismatch, WebhookNotFound
from stella_contracts.webhooks import Webhook, WebhookCreate, WebhookStatus
from stella_runtime.ids import new_id
from stella_runtime.persistence.base import Base, MomentColumn, TenantOwned, TextsColumn

MOST_WEBHOOKS = 100
"""Of one tenant. Each event is kept and sent once for each that wants it."""


class WebhookRow(TenantOwned, Base):
    __tablename__ = "webhooks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    url: Mapped[str]
    description: Mapped[str]
    event_types: Mapped[list[str]] = mapped_column(TextsColumn)
    enabled: Mapped[bool]
    auth_ref_uri: Mapped[str]
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(MomentColumn)
    updated_at: Mapped[datetime] = mapped_column(MomentColumn)


class WebhookStateRow(TenantOwned, Base):
    __tablename__ = "webhook_state"

    webhook_id: Mapped[UUID] = mapped_column(primary_key=True)
    due_at: Mapped[datetime | None] = mapped_column(MomentColumn)
    not_before: Mapped[datetime | None] = mapped_column(MomentColumn)
    leased_until: Mapped[datetime | None] = mapped_column(MomentColumn)
    lease_token: Mapped[int] = mapped_column(BigInteger)
    consecutive_failures: Mapped[int]
    failing_since: Mapped[datetime | None] = mapped_column(MomentColumn)
    disabled_reason: Mapped[str | None]
    disabled_at: Mapped[datetime | None] = mapped_column(MomentColumn)
    last_success_at: Mapped[datetime | None] = mapped_column(MomentColumn)
    last_failure_at: Mapped[datetime | None] = mapped_column(MomentColumn)
    last_error: Mapped[str | None]


class WebhookCursorRow(Base):
    """Up to where the events of all tenants have been queued: one row."""

    __tablename__ = "webhook_cursor"

    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_id: Mapped[int] = mapped_column(BigInteger)
    sequence: Mapped[int] = mapped_column(BigInteger)


# Two that register at once must not both be the hundredth.
_LOCK_TENANT = text("select pg_advisory_xact_lock(hashtextextended('stella.webhooks.' || :t, 0))")

_FOUND = select(WebhookRow, WebhookStateRow).join(
    WebhookStateRow, WebhookStateRow.webhook_id == WebhookRow.id
)


class Webhooks:
    """The endpoints of the session's tenant."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def add(self, new: WebhookCreate) -> Webhook:
        """Store an endpoint. It gets the events that are reported from now on."""
        await self._session.execute(_LOCK_TENANT, {"t": self._tenant_id})
        count = await self._session.scalar(
            select(func.count()).select_from(select(WebhookRow.id).subquery())
        )
        if (count or 0) >= MOST_WEBHOOKS:
            raise TooManyWebhooks(MOST_WEBHOOKS)
        row = WebhookRow(
            id=new_id(),
            tenant_id=self._tenant_id,
            url=new.url,
            description=new.description,
            event_types=new.event_types,
            enabled=new.enabled,
            auth_ref_uri=str(new.auth_ref_uri),
            version=1,
            # The database's time, which is that of events.
            created_at=func.now(),
            updated_at=func.now(),
        )
        self._session.add(row)
        await self._session.flush()
        await self._session.refresh(row)
        state = WebhookStateRow(
            webhook_id=row.id, tenant_id=self._tenant_id, lease_token=0, consecutive_failures=0
        )
        self._session.add(state)
        await self._session.flush()
        return _webhook(row, state)

    async def get(self, webhook_id: UUID) -> Webhook:
        """Raises WebhookNotFound."""
        found = (
            await self._session.execute(_FOUND.where(WebhookRow.id == webhook_id))
        ).one_or_none()
        if found is None:
            raise WebhookNotFound(webhook_id)
        return _webhook(*found)

    async def list_page(self, *, limit: int, after: UUID | None) -> Sequence[Webhook]:
        """At most `limit` endpoints, oldest first, that were made after `after`."""
        query = _FOUND if after is None else _FOUND.where(WebhookRow.id > after)
        rows = await self._session.execute(query.order_by(WebhookRow.id).limit(limit))
        return [_webhook(*row) for row in rows]

    async def is_signing_key(self, reference: AuthRef) -> bool:
        """Whether a webhook is signed with this secret, whichever field of it."""
        used = func.split_part(WebhookRow.auth_ref_uri, "#", 1)
        whole = str(AuthRef(reference.vault, reference.path))
        return (
            await self._session.scalar(select(WebhookRow.id).where(used == whole).limit(1))
            is not None
        )

    async def lock(self, webhook_id: UUID, versions: frozenset[int] | None) -> WebhookRow:
        """
        Read a row for a change, and hold it and its state.

        Everybody takes them in this order, and deliveries after them. Raises WebhookNotFound, or
        VersionMismatch unless its version is one of these.
        """
        row = await self._session.scalar(
            select(WebhookRow).where(WebhookRow.id == webhook_id).with_for_update()
        )
        await self._session.execute(
            select(WebhookStateRow.webhook_id)
            .where(WebhookStateRow.webhook_id == webhook_id)
            .with_for_update()
        )
        if row is None:
            raise WebhookNotFound(webhook_id)
        if versions is not None and row.version not in versions:
            raise VersionMismatch(row.version)
        return row

    async def change(self, row: WebhookRow, changes: Mapping[str, Any]) -> None:
        """Apply changes to a locked row, as its next version."""
        for name, value in changes.items():
            setattr(row, name, str(value) if name == "auth_ref_uri" else value)
        row.version += 1
        row.updated_at = datetime.now(UTC)
        await self._session.flush()

    async def enable(self, webhook_id: UUID) -> None:
        """Forget the failures: what waits goes out at once, as to an endpoint that works."""
        await self._session.execute(
            update(WebhookStateRow)
            .where(WebhookStateRow.webhook_id == webhook_id)
            .values(
                not_before=None,
                due_at=func.now(),
                consecutive_failures=0,
                failing_since=None,
                disabled_reason=None,
                disabled_at=None,
            )
        )

    async def make_due(self, webhook_id: UUID) -> None:
        """Look now at what waits, though a pause or a daily trial was still to come."""
        await self._session.execute(
            update(WebhookStateRow)
            .where(WebhookStateRow.webhook_id == webhook_id)
            .values(not_before=None, due_at=func.now())
        )

    async def delete(self, row: WebhookRow) -> None:
        """Delete a locked row, with what waits for it and its log."""
        await self._session.execute(delete(WebhookRow).where(WebhookRow.id == row.id))


def _webhook(row: WebhookRow, state: WebhookStateRow) -> Webhook:
    is_disabled = not row.enabled or state.disabled_reason is not None
    status = WebhookStatus.ACTIVE
    if is_disabled:
        status = WebhookStatus.DISABLED
    elif state.consecutive_failures:
        status = WebhookStatus.FAILING
    return Webhook(
        id=row.id,
        url=row.url,
        description=row.description,
        event_types=row.event_types,
        enabled=row.enabled,
        auth_ref_uri=row.auth_ref_uri,
        status=status,
        disabled_reason=cast("Any", state.disabled_reason),
        disabled_at=state.disabled_at,
        next_trial_at=state.not_before if state.disabled_reason == "failing" else None,
        consecutive_failures=state.consecutive_failures,
        failing_since=state.failing_since,
        last_success_at=state.last_success_at,
        last_failure_at=state.last_failure_at,
        last_error=state.last_error,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
    )
