"""Table `integrations` and every query of a tenant on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import IntegrationNotFound, NameTaken
from stella_contracts.health import IntegrationStatus
from stella_contracts.integrations import Connection, Integration, IntegrationCreate
from stella_runtime.ids import new_id
from stella_runtime.persistence.base import (
    Base,
    JsonColumn,
    JsonObject,
    MomentColumn,
    TenantOwned,
    TextsColumn,
)
from stella_runtime.persistence.schedule_state import ScheduleStateRow


class IntegrationRow(TenantOwned, Base):
    __tablename__ = "integrations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    type: Mapped[str]
    name: Mapped[str]
    description: Mapped[str]
    config: Mapped[JsonObject] = mapped_column("config_json", JsonColumn)
    auth_ref_uri: Mapped[str | None]
    tags: Mapped[list[str]] = mapped_column(TextsColumn)
    enabled: Mapped[bool]
    status: Mapped[str]
    check_interval_seconds: Mapped[int]
    check_timeout_seconds: Mapped[int]
    failure_threshold: Mapped[int]
    success_threshold: Mapped[int]
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(MomentColumn)
    updated_at: Mapped[datetime] = mapped_column(MomentColumn)
    deleted_at: Mapped[datetime | None] = mapped_column(MomentColumn)


class Sort(StrEnum):
    """How a listing is ordered. Each has an index that gives its pages."""

    CREATED = "createdAt"
    CREATED_LAST = "-createdAt"
    NAME = "name"
    NAME_LAST = "-name"
    UPDATED = "updatedAt"
    UPDATED_LAST = "-updatedAt"


@dataclass(frozen=True, slots=True)
class Filters:
    """What a listing is narrowed to. None and "" narrow nothing."""

    type: str | None = None
    status: IntegrationStatus | None = None
    tag: str | None = None
    q: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of a page: its sort value and its id."""

    value: str
    id: UUID


# Ids are UUIDv7, so that their order is the order of creation.
_COLUMN_OF_SORT: dict[Sort, InstrumentedAttribute[Any]] = {
    Sort.CREATED: IntegrationRow.id,
    Sort.CREATED_LAST: IntegrationRow.id,
    Sort.NAME: IntegrationRow.name,
    Sort.NAME_LAST: IntegrationRow.name,
    Sort.UPDATED: IntegrationRow.updated_at,
    Sort.UPDATED_LAST: IntegrationRow.updated_at,
}

_Found = Select[IntegrationRow, JsonObject | None]

_LIVE: _Found = (
    select(IntegrationRow, ScheduleStateRow.connection)
    .outerjoin(ScheduleStateRow, ScheduleStateRow.integration_id == IntegrationRow.id)
    .where(IntegrationRow.deleted_at.is_(None))
)


class Integrations:
    """The caller's tenant is the session's; no method takes a tenant."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self._tenant_id = tenant_id

    async def add(
        self, new: IntegrationCreate, *, interval_seconds: int, timeout_seconds: int
    ) -> Integration:
        """Store a new integration. Raises NameTaken."""
        now = datetime.now(UTC)
        status = IntegrationStatus.UNKNOWN if new.enabled else IntegrationStatus.DISABLED
        row = IntegrationRow(
            id=new_id(),
            tenant_id=self._tenant_id,
            type=new.type,
            name=new.name,
            description=new.description,
            config=new.config,
            auth_ref_uri=_text(new.auth_ref_uri),
            tags=new.tags,
            enabled=new.enabled,
            status=status,
            check_interval_seconds=interval_seconds,
            check_timeout_seconds=timeout_seconds,
            failure_threshold=new.failure_threshold,
            success_threshold=new.success_threshold,
            version=1,
            created_at=now,
            updated_at=now,
        )
        self._session.add(row)
        await self._flush(new.name)
        return _integration(row, None)

    async def get(self, integration_id: UUID) -> Integration:
        """Raises IntegrationNotFound."""
        found = (
            await self._session.execute(_LIVE.where(IntegrationRow.id == integration_id))
        ).one_or_none()
        if found is None:
            raise IntegrationNotFound(integration_id)
        return _integration(*found)

    async def find_named(self, name: str) -> Integration | None:
        """The one that has a name now, or None."""
        found = (
            await self._session.execute(_LIVE.where(IntegrationRow.name == name))
        ).one_or_none()
        return None if found is None else _integration(*found)

    async def list_page(
        self, filters: Filters, *, sort: Sort, limit: int, after: Position | None
    ) -> Sequence[Integration]:
        """At most `limit` integrations that come after a position."""
        query = _narrowed(_LIVE, filters)
        column = _COLUMN_OF_SORT[sort]
        descending = sort.startswith("-")
        if after is not None:
            query = query.where(_comes_after(column, after, descending=descending))
        keys = [column] if column is IntegrationRow.id else [column, IntegrationRow.id]
        order = [key.desc() if descending else key.asc() for key in keys]
        rows = await self._session.execute(query.order_by(*order).limit(limit))
        return [_integration(*row) for row in rows]

    async def list_using(self, reference: AuthRef, *, limit: int) -> Sequence[Integration]:
        """Integrations that refer to the same secret, whichever field of it."""
        whole = str(AuthRef(reference.vault, reference.path))
        used = func.split_part(IntegrationRow.auth_ref_uri, "#", 1)
        rows = await self._session.execute(
            _LIVE.where(used == whole).order_by(IntegrationRow.id).limit(limit)
        )
        return [_integration(*row) for row in rows]

    async def lock(self, integration_id: UUID) -> IntegrationRow:
        """Read a row for a change, and hold it. Raises IntegrationNotFound."""
        row = await self._session.scalar(
            select(IntegrationRow)
            .where(IntegrationRow.id == integration_id, IntegrationRow.deleted_at.is_(None))
            .with_for_update()
        )
        if row is None:
            raise IntegrationNotFound(integration_id)
        return row

    async def change(self, row: IntegrationRow, changes: dict[str, Any]) -> None:
        """Apply changes to a locked row, as its next version. Raises NameTaken."""
        for name, value in changes.items():
            setattr(row, name, _text(value) if name == "auth_ref_uri" else value)
        row.version += 1
        row.updated_at = datetime.now(UTC)
        await self._flush(row.name)

    async def delete(self, row: IntegrationRow) -> None:
        """Hide a locked row from every reader. Its history stays."""
        row.deleted_at = datetime.now(UTC)
        row.enabled = False
        row.status = IntegrationStatus.DISABLED
        row.version += 1
        await self._flush(row.name)

    async def _flush(self, name: str) -> None:
        try:
            await self._session.flush()
        except IntegrityError as error:
            # The constraint is the check. Asking first would race.
            if "uq_integrations_tenant_id_name" in str(error.orig):
                raise NameTaken(name) from error
            raise


def sort_value(integration: Integration, sort: Sort) -> str:
    """The value that a cursor keeps of the last row of a page."""
    if _COLUMN_OF_SORT[sort] is IntegrationRow.name:
        return integration.name
    if _COLUMN_OF_SORT[sort] is IntegrationRow.updated_at:
        return integration.updated_at.isoformat()
    return str(integration.id)


def _narrowed(query: _Found, filters: Filters) -> _Found:
    if filters.type:
        query = query.where(IntegrationRow.type == filters.type)
    if filters.status:
        query = query.where(IntegrationRow.status == filters.status)
    if filters.tag:
        query = query.where(IntegrationRow.tags.contains([filters.tag]))
    if filters.enabled is not None:
        query = query.where(IntegrationRow.enabled.is_(filters.enabled))
    if filters.q:
        query = query.where(
            or_(
                IntegrationRow.name.icontains(filters.q, autoescape=True),
                IntegrationRow.description.icontains(filters.q, autoescape=True),
            )
        )
    return query


def _comes_after(column: InstrumentedAttribute[Any], after: Position, *, descending: bool) -> Any:
    ids = IntegrationRow.id
    if column is ids:
        return ids < after.id if descending else ids > after.id
    value: Any = after.value
    if column is IntegrationRow.updated_at:
        value = datetime.fromisoformat(after.value)
    beyond = column < value if descending else column > value
    next_id = ids < after.id if descending else ids > after.id
    return or_(beyond, and_(column == value, next_id))


def _text(reference: AuthRef | str | None) -> str | None:
    return None if reference is None else str(reference)


def _integration(row: IntegrationRow, connection: JsonObject | None) -> Integration:
    return Integration(
        id=row.id,
        type=row.type,
        name=row.name,
        description=row.description,
        config=row.config,
        auth_ref_uri=row.auth_ref_uri,
        connection=None if connection is None else Connection.model_validate(connection),
        status=IntegrationStatus(row.status),
        enabled=row.enabled,
        tags=row.tags,
        check_interval_seconds=row.check_interval_seconds,
        check_timeout_seconds=row.check_timeout_seconds,
        failure_threshold=row.failure_threshold,
        success_threshold=row.success_threshold,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
    )
