"""The route of an integration's changes of status."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from stella_api.dependencies import CurrentCursors, ReadTransaction
from stella_api.health.routes import Moment
from stella_api.identifiers import require_uuid
from stella_api.integrations.routes import COMMON, Cursor, Limit
from stella_api.problems import problems
from stella_contracts.errors import IntegrationNotFound, MalformedCursor
from stella_contracts.health import TransitionPage
from stella_runtime.persistence.health_checks import Span

router = APIRouter(prefix="/integrations/{integration_id}", tags=["health"])


@router.get("/transitions", responses=problems(IntegrationNotFound, MalformedCursor, *COMMON))
async def list_transitions(
    integration_id: str,
    transaction: ReadTransaction,
    cursors: CurrentCursors,
    since: Annotated[Moment, Query(alias="from")] = None,
    until: Annotated[Moment, Query(alias="to")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> TransitionPage:
    """Every change of status, newest first. They are kept longer than the checks behind them."""
    identifier = require_uuid(integration_id)
    await transaction.integrations.get(identifier)
    bound: dict[str, Any] = {
        "tenant": transaction.tenant_id,
        "listing": "transitions",
        "filters": {"integration": identifier, "from": since, "to": until},
    }
    position = cursors.read(cursor, **bound)
    found = await transaction.transitions.list_page(
        identifier,
        Span(since, until),
        limit=limit + 1,
        before=(datetime.fromisoformat(position[0]), UUID(position[1])) if position else None,
    )
    items = [transition for _, transition in found[:limit]]
    if len(found) <= limit:
        return TransitionPage(items=items)
    end = [items[-1].at.isoformat(), str(found[limit - 1][0])]
    return TransitionPage(items=items, next_cursor=cursors.write(end, **bound))
