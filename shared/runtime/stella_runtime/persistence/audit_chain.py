"""
The chain of a tenant's audit log: each entry holds a hash over itself and the entry before it.

The database makes the chain as entries are inserted. It is read again here. Table `audit_heads`
holds where each chain ends, so that entries cut off its end are missed, too.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, LargeBinary, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from stella_contracts.audit import AuditBreak, AuditVerification
from stella_runtime.persistence.base import Base, MomentColumn, TenantOwned

ENTRIES_AT_ONCE = 20_000
"""So many are verified by one statement, well within the time that a statement may take."""


class AuditHeadRow(TenantOwned, Base):
    __tablename__ = "audit_heads"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class AuditAnchorRow(TenantOwned, Base):
    """Where what is kept of a chain begins: the last entry that was dropped."""

    __tablename__ = "audit_anchors"

    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    moved_at: Mapped[datetime] = mapped_column(MomentColumn)


# Nothing is dropped meanwhile: see `expire_audit_logs`.
_HOLD = text("select pg_advisory_xact_lock_shared(hashtext('stella.audit.expiry'))")
_VERIFY = text(
    """
    with entries as (
        select a.id, a.sequence, a.hash,
            lag(a.sequence, 1, cast(:after as bigint)) over chain + 1 as expected,
            a.hash = audit_hash(a, lag(a.hash, 1, cast(:hash as bytea)) over chain) as matches
        from audit_logs a
        where a.tenant_id = :tenant_id and a.sequence > :after and a.sequence <= :until
        window chain as (order by a.sequence)
        order by a.sequence limit :limit),
    last as (select * from entries order by sequence desc limit 1),
    broken as (
        select * from entries where sequence <> expected or not matches
        order by sequence limit 1)
    select last.sequence, last.hash, (select count(*) from entries) as entries,
        broken.id as broken_id, broken.sequence as broken_sequence, broken.expected
    from last left join broken on true
    """
)


@dataclass(slots=True)
class _Place:
    """How far the chain has been read."""

    sequence: int = 0
    hash: bytes = b""
    entries: int = 0


class AuditChain:
    """Reads the chain of the session's tenant from where it begins."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def end(self) -> int:
        """The place of the last entry; 0 if there is none."""
        return await self._session.scalar(select(AuditHeadRow.sequence)) or 0

    async def verify(self, *, at_once: int = ENTRIES_AT_ONCE) -> AuditVerification:
        """Compare every committed entry with its hash, and name the first that differs."""
        await self._session.execute(_HOLD)
        anchor = await self._session.scalar(select(AuditAnchorRow))
        head = await self._session.scalar(select(AuditHeadRow))
        end = _Place() if head is None else _Place(head.sequence, head.hash)
        place = _Place() if anchor is None else _Place(anchor.sequence, anchor.hash)
        expired = place.sequence
        while place.sequence < end.sequence:
            broken = await self._read_on(place, end.sequence, at_once)
            if broken is not None:
                return AuditVerification(
                    intact=False, entries=place.entries, expired=expired, first_broken=broken
                )
        if place.hash != end.hash:
            broken = AuditBreak(sequence=place.sequence, reason="altered")
            return AuditVerification(
                intact=False, entries=place.entries, expired=expired, first_broken=broken
            )
        return AuditVerification(
            intact=True,
            entries=place.entries,
            expired=expired,
            sequence=end.sequence,
            hash=end.hash.hex(),
        )

    async def _read_on(self, place: _Place, until: int, at_once: int) -> AuditBreak | None:
        row = (
            await self._session.execute(
                _VERIFY,
                {
                    "tenant_id": self._tenant_id,
                    "after": place.sequence,
                    "hash": place.hash,
                    "until": until,
                    "limit": at_once,
                },
            )
        ).one_or_none()
        if row is None:
            return AuditBreak(sequence=place.sequence + 1, reason="missing")
        if row.broken_sequence is None:
            place.sequence, place.hash = row.sequence, row.hash
            place.entries += row.entries
            return None
        place.entries += row.expected - 1 - place.sequence
        if row.broken_sequence != row.expected:
            return AuditBreak(sequence=row.expected, reason="missing")
        return AuditBreak(sequence=row.broken_sequence, id=row.broken_id, reason="altered")
