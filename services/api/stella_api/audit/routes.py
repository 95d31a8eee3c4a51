"""The route of the audit log."""

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from stella_api.dependencies import AdminTransaction, CurrentCursors
from stella_api.health.routes import Moment
from stella_api.integrations.routes import COMMON, Cursor, Limit
from stella_api.problems import problems
from stella_contracts.audit import AuditPage, AuditVerification
from stella_contracts.errors import MalformedCursor
from stella_runtime.persistence.audit_logs import AuditFilters

router = APIRouter(prefix="/audit-logs", tags=["audit"])


@router.get("", responses=problems(MalformedCursor, *COMMON))
async def list_entries(
    transaction: AdminTransaction,
    cursors: CurrentCursors,
    integration_id: Annotated[UUID | None, Query(alias="integrationId")] = None,
    by: Annotated[str | None, Query(alias="actor", max_length=200)] = None,
    action: Annotated[str | None, Query(max_length=100)] = None,
    since: Annotated[Moment, Query(alias="from")] = None,
    until: Annotated[Moment, Query(alias="to")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> AuditPage:
    """Who did what, newest first."""
    filters = AuditFilters(
        integration_id=integration_id, actor=by, action=action, since=since, until=until
    )
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
    if len(found) <= limit:
        return AuditPage(items=items)
    return AuditPage(items=items, next_cursor=cursors.write([str(items[-1].id)], **bound))


@router.get("/verify", responses=problems(*COMMON))
async def verify(transaction: AdminTransaction) -> AuditVerification:
    """Read the whole chain of the audit log, and name the first entry that is not as written."""
    return await transaction.audit_chain.verify()
