"""Routes of mutes and maintenance windows."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response, status

from stella_api.dependencies import (
    CurrentCursors,
    Operator,
    OperatorTransaction,
    ReadTransaction,
    RequestId,
)
from stella_api.examples import MUTE_BODIES
from stella_api.identifiers import as_uuid
from stella_api.integrations.routes import COMMON, Cursor, Limit
from stella_api.integrations.service import Call
from stella_api.mutes import service
from stella_api.problems import problems
from stella_contracts.errors import MalformedCursor, MuteNotFound, MuteRejected
from stella_contracts.mutes import Mute, MuteCreate, MutePage

router = APIRouter(prefix="/mutes", tags=["mutes"])


@router.get("", responses=problems(MalformedCursor, *COMMON))
async def list_mutes(
    transaction: ReadTransaction, cursors: CurrentCursors, limit: Limit = 50, cursor: Cursor = None
) -> MutePage:
    """Mutes that have not ended, those that have not begun included; the newest first."""
    bound: dict[str, Any] = {"tenant": transaction.tenant_id, "listing": "mutes", "filters": {}}
    position = cursors.read(cursor, **bound)
    found = await transaction.mutes.list_page(
        limit=limit + 1, before=UUID(position[0]) if position else None
    )
    items = list(found[:limit])
    if len(found) <= limit:
        return MutePage(items=items)
    return MutePage(items=items, next_cursor=cursors.write([str(items[-1].id)], **bound))


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    openapi_extra={"requestBody": {"content": {"application/json": {"examples": MUTE_BODIES}}}},
    responses=problems(MuteRejected, *COMMON),
)
async def create(
    actor: Operator, request_id: RequestId, transaction: OperatorTransaction, new: MuteCreate
) -> Mute:
    """
    Send no alerts for a while. Checks and history go on.

    An outage that lasts longer than the mute is announced at its end, once.
    """
    return await service.mute(transaction, Call(actor, request_id), new)


@router.delete(
    "/{mute_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(MuteNotFound, *COMMON),
)
async def delete(
    actor: Operator, request_id: RequestId, transaction: OperatorTransaction, mute_id: str
) -> Response:
    """End a mute now. Outages that are still there are announced."""
    wanted = as_uuid(mute_id)
    if wanted is None:
        raise MuteNotFound(mute_id)
    await service.unmute(transaction, Call(actor, request_id), wanted)
    return Response(status_code=status.HTTP_204_NO_CONTENT)
