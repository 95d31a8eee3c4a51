"""The declarative base, constraint names, and the two locks of a tenant's session."""

from typing import Any, ClassVar

from pydantic import JsonValue
from sqlalchemy import Connection, DateTime, MetaData, Text, event, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    SessionTransaction,
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


class SystemSession(Session):
    """A session of the services' own work, across tenants."""


_ENTER_TENANT = text(
    "select set_config('role', 'stella_api', true), set_config('app.tenant_id', :tenant_id, true)"
)
_ENTER_SYSTEM = text("set local role stella_system")


# Both hold until the transaction ends, so that a pooled connection carries nothing over.
@event.listens_for(TenantSession, "after_begin")
def _enter_tenant(session: Session, _: SessionTransaction, connection: Connection) -> None:
    connection.execute(_ENTER_TENANT, {"tenant_id": session.info["tenant_id"]})


@event.listens_for(SystemSession, "after_begin")
def _enter_system(_: Session, __: SessionTransaction, connection: Connection) -> None:
    connection.execute(_ENTER_SYSTEM)


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
