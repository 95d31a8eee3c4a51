"""Table `idempotency_keys`: the answer that a repeated request gets again."""

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import LargeBinary, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from stella_runtime.persistence.base import (
    Base,
    JsonColumn,
    JsonObject,
    MomentColumn,
    TenantOwned,
)


class IdempotencyKeyRow(TenantOwned, Base):
    __tablename__ = "idempotency_keys"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    actor: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int | None]
    headers: Mapped[JsonObject | None] = mapped_column(JsonColumn)
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(MomentColumn)


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    status: int
    headers: dict[str, str]
    body: bytes


_LOCK_NOT_AVAILABLE = "55P03"
_RESERVE = text(
    """
    insert into idempotency_keys (tenant_id, actor, key, request_hash)
    values (:tenant_id, :actor, :key, :request_hash)
    on conflict do nothing returning key
    """
)


class IdempotencyKeys:
    """The keys of the session's tenant. A key and what its request did commit together."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def reserve(self, actor: str, key: str, request_hash: bytes) -> StoredAnswer | None:
        """
        Take a key for this transaction, or find the answer that its first request got.

        Waits while another transaction holds the key. Raises IdempotencyKeyInUse if it holds it
        beyond the lock timeout, and IdempotencyKeyReused if it belongs to another request.
        """
        mine = {
            "tenant_id": self._tenant_id,
            "actor": actor,
            "key": key,
            "request_hash": request_hash,
        }
        try:
            taken = await self._session.scalar(_RESERVE, mine)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                raise IdempotencyKeyInUse from error
            raise
        if taken is not None:
            return None
        row = await self._session.scalar(
            select(IdempotencyKeyRow).where(
                IdempotencyKeyRow.actor == actor, IdempotencyKeyRow.key == key
            )
        )
        if row is None or row.status is None:
            raise IdempotencyKeyInUse
        if row.request_hash != request_hash:
            raise IdempotencyKeyReused
        return StoredAnswer(
            status=row.status,
            headers=cast("dict[str, str]", row.headers or {}),
            body=row.body or b"",
        )

    async def store(self, actor: str, key: str, answer: StoredAnswer) -> None:
        """Keep the answer for the key that this transaction has reserved."""
        await self._session.execute(
            update(IdempotencyKeyRow)
            .where(IdempotencyKeyRow.actor == actor, IdempotencyKeyRow.key == key)
            .values(status=answer.status, headers=answer.headers, body=answer.body)
        )
