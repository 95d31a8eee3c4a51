"""The declarative base, constraint names, and the tenant filter."""

from typing import Any, ClassVar

from pydantic import JsonValue
from sqlalchemy import DateTime, MetaData, Text, event
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    mapped_column,
    with_loader_criteria,
)

JsonObject = dict[str, JsonValue]
MomentColumn = DateTime(timezone=True)
JsonColumn = JSONB(none_as_null=True)
TextsColumn = ARRAY(Text)


class Base(DeclarativeBase):
    """Every table of the system."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {str: Text()}


class TenantOwned:
    """Mixin of rows that belong to one tenant. Queries of a tenant's session are filtered."""

    tenant_id: Mapped[str] = mapped_column(Text)


class TenantSession(Session):
    """The session of one tenant. `info["tenant_id"]` names it, and nothing changes it."""


@event.listens_for(TenantSession, "do_orm_execute")
def _filter_by_tenant(execution: ORMExecuteState) -> None:
    # A KeyError here is intended: a session that names no tenant may not query.
    tenant_id = execution.session.info["tenant_id"]
    execution.statement = execution.statement.options(
        with_loader_criteria(
            TenantOwned,
            lambda row: row.tenant_id == tenant_id,
            include_aliases=True,
        )
    )
