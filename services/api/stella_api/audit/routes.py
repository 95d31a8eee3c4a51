"""Routes of the audit log. Reading it is audited, too."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response, status

from stella_api.authentication import Actor
from stella_api.dependencies import (
    Admin,
    AdminTransaction,
    CurrentCursors,
    CurrentDatabase,
    RequestId,
)
from stella_api.health.routes import Moment
from stella_api.integrations.routes import COMMON, Cursor, Limit
from stella_api.ndjson import MEDIA_TYPE, Lines
from stella_api.problems import problems
from stella_contracts.audit import AuditPage, AuditRecord, AuditVerification
from stella_contracts.errors import MalformedCursor
from stella_runtime.persistence import Database, Transaction
from stella_runtime.persistence.audit_logs import AuditFilters

router = APIRouter(prefix="/audit-logs", tags=["audit"])


EXPORT_PAGE = 500

_FILTERS_IN_JSON = {"integration_id": "integrationId", "since": "from", "until": "to"}


async def _filters(
    integration_id: Annotated[UUID | None, Query(alias="integrationId")] = None,
    by: Annotated[str | None, Query(alias="actor", max_length=200)] = None,
    action: Annotated[str | None, Query(max_length=100)] = None,
    since: Annotated[Moment, Query(alias="from")] = None,
    until: Annotated[Moment, Query(alias="to")] = None,
) -> AuditFilters:
    return AuditFilters(
        integration_id=integration_id, actor=by, action=action, since=since, until=until
    )


Filters = Annotated[AuditFilters, Depends(_filters)]


@router.get("", responses=problems(MalformedCursor, *COMMON))
async def list_entries(
    actor: Admin,
    request_id: RequestId,
    transaction: AdminTransaction,
    cursors: CurrentCursors,
    filters: Filters,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditPage:
    """Who did what, newest first."""
    bound: dict[str, Any] = {
        "tenant": transaction.tenant_id,
        "listing": "audit",
        "filters": asdict(filters),
    }
    position = cursors.read(cursor, **bound)
    found = await transaction.audit_logs.list_page(
        filters, limit=limit + 1, before=UUID(position[0]) if position else None
    )
    items = list(found[:limit])
    _tell(transaction, actor, request_id, "audit.read", {**_named(filters), "entries": len(items)})
    if len(found) <= limit:
        return AuditPage(items=items)
    return AuditPage(items=items, next_cursor=cursors.write([str(items[-1].id)], **bound))


@router.get("/verify", responses=problems(*COMMON))
async def verify(
    actor: Admin, request_id: RequestId, transaction: AdminTransaction
) -> AuditVerification:
    """Read the whole chain of the audit log, and name the first entry that is not as written."""
    found = await transaction.audit_chain.verify()
    _tell(transaction, actor, request_id, "audit.verified", {"intact": found.intact})
    return found


@router.get(
    "/export",
    status_code=status.HTTP_200_OK,
    response_class=Response,
    responses={
        200: {
            "description": "One AuditRecord a line, in the order of the chain.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
        **problems(*COMMON),
    },
)
async def export(
    actor: Admin, request_id: RequestId, database: CurrentDatabase, filters: Filters
) -> Response:
    """Every entry up to this one, as NDJSON. An answer that breaks off is not the whole."""
    async with database.transaction(actor.tenant_id) as transaction:
        _tell(transaction, actor, request_id, "audit.exported", _named(filters))
        await transaction.flush()
        end = await transaction.audit_chain.end()
    return Lines(_pages(database, actor.tenant_id, filters, end))


async def _pages(
    database: Database, tenant_id: str, filters: AuditFilters, end: int
) -> AsyncIterator[Sequence[AuditRecord]]:
    """Each page is a transaction of its own: none is open while a client reads."""
    after = 0
    while after < end:
        async with database.transaction(tenant_id) as transaction:
            found = await transaction.audit_logs.list_records(
                filters, limit=EXPORT_PAGE, after=after
            )
        yield [record for record in found if record.sequence <= end]
        if len(found) < EXPORT_PAGE:
            return
        after = found[-1].sequence


def _named(filters: AuditFilters) -> dict[str, Any]:
    return {
        _FILTERS_IN_JSON.get(name, name): str(value)
        for name, value in asdict(filters).items()
        if value is not None
    }


def _tell(
    transaction: Transaction, actor: Actor, request_id: str, action: str, details: dict[str, Any]
) -> None:
    transaction.audit_logs.add(action, actor=actor.subject, request_id=request_id, details=details)
