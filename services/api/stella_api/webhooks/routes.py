"""Routes of webhooks. HTTP in, HTTP out; decisions are in `service`."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response, status

from stella_api.dependencies import (
    CurrentCursors,
    CurrentPolicy,
    Reader,
    ReadTransaction,
    RequestId,
    Writer,
    WriteTransaction,
)
from stella_api.identifiers import as_uuid
from stella_api.integrations.preconditions import required_versions_of, versions_of
from stella_api.integrations.references import seen
from stella_api.integrations.routes import COMMON, Cursor, IfMatch, Limit
from stella_api.problems import problems
from stella_api.webhooks.examples import BODIES, CHANGES, REPLAYS
from stella_api.webhooks.service import WebhookCall
from stella_contracts.errors import (
    ConfigRejected,
    DeliveryNotFound,
    IfMatchMissing,
    MalformedCursor,
    MalformedPrecondition,
    TooManyWebhooks,
    VersionMismatch,
    WebhookDisabled,
    WebhookNotFound,
)
from stella_contracts.webhooks import (
    Delivery,
    DeliveryPage,
    DeliveryState,
    ReplayAnswer,
    ReplayRequest,
    Webhook,
    WebhookCreate,
    WebhookPage,
    WebhookUpdate,
)

router = APIRouter(prefix="/webhooks", tags=["webhooks"])


async def _call(
    actor: Writer, transaction: WriteTransaction, request_id: RequestId, policy: CurrentPolicy
) -> WebhookCall:
    return WebhookCall(transaction, actor, request_id, policy)


Call = Annotated[WebhookCall, Depends(_call)]


def _bodies(examples: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"examples": examples}}}}


def _webhook_id(text: str) -> UUID:
    """Raises WebhookNotFound."""
    found = as_uuid(text)
    if found is None:
        raise WebhookNotFound(text)
    return found


def _delivery_id(text: str) -> UUID:
    """Raises DeliveryNotFound."""
    found = as_uuid(text)
    if found is None:
        raise DeliveryNotFound(text)
    return found


def _etag(webhook: Webhook) -> str:
    return f'"{webhook.version}"'


@router.get("", responses=problems(MalformedCursor, *COMMON))
async def list_all(
    actor: Reader,
    transaction: ReadTransaction,
    cursors: CurrentCursors,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> WebhookPage:
    """The tenant's webhooks, oldest first, with how they do."""
    bound: dict[str, Any] = {
        "tenant": transaction.tenant_id,
        "listing": "webhooks",
        "filters": {},
    }
    position = cursors.read(cursor, **bound)
    found = await transaction.webhooks.list_page(
        limit=limit + 1, after=UUID(position[0]) if position else None
    )
    items = seen(actor, found[:limit])
    more = len(found) > limit
    return WebhookPage(
        items=items, next_cursor=cursors.write([str(items[-1].id)], **bound) if more else None
    )


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problems(TooManyWebhooks, ConfigRejected, *COMMON),
    openapi_extra=_bodies(BODIES),
)
async def register(call: Call, new: WebhookCreate, response: Response) -> Webhook:
    """Have events sent to a URL, signed as Standard Webhooks says, from now on."""
    webhook = await call.register(new)
    response.headers["Location"] = f"/api/v1/webhooks/{webhook.id}"
    response.headers["ETag"] = _etag(webhook)
    return webhook


@router.get("/{webhook_id}", responses=problems(WebhookNotFound, *COMMON))
async def get(
    actor: Reader, transaction: ReadTransaction, webhook_id: str, response: Response
) -> Webhook:
    """Get one webhook."""
    (webhook,) = seen(actor, [await transaction.webhooks.get(_webhook_id(webhook_id))])
    response.headers["ETag"] = _etag(webhook)
    return webhook


@router.put(
    "/{webhook_id}",
    responses=problems(
        WebhookNotFound,
        VersionMismatch,
        IfMatchMissing,
        MalformedPrecondition,
        ConfigRejected,
        *COMMON,
    ),
    openapi_extra=_bodies(CHANGES),
)
async def change(
    call: Call,
    webhook_id: str,
    update: WebhookUpdate,
    response: Response,
    if_match: IfMatch = None,
) -> Webhook:
    """Change what is sent and keep the rest. `enabled: true` also ends a disabling of ours."""
    webhook = await call.change(_webhook_id(webhook_id), update, required_versions_of(if_match))
    response.headers["ETag"] = _etag(webhook)
    return webhook


@router.delete(
    "/{webhook_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(WebhookNotFound, VersionMismatch, MalformedPrecondition, *COMMON),
)
async def remove(call: Call, webhook_id: str, if_match: IfMatch = None) -> None:
    """Remove a webhook, what waits for it, and its log."""
    await call.remove(_webhook_id(webhook_id), versions_of(if_match))


@router.post(
    "/{webhook_id}/test",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems(WebhookNotFound, WebhookDisabled, *COMMON),
)
async def test(call: Call, webhook_id: str) -> Delivery:
    """Send an event of the type `webhook.test`. Its delivery tells how it went."""
    return await call.test(_webhook_id(webhook_id))


@router.get(
    "/{webhook_id}/deliveries",
    responses=problems(WebhookNotFound, MalformedCursor, *COMMON),
)
async def list_deliveries(
    transaction: ReadTransaction,
    cursors: CurrentCursors,
    webhook_id: str,
    state: DeliveryState | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DeliveryPage:
    """What was sent, newest first: tries, status codes, latencies, the next try."""
    identifier = _webhook_id(webhook_id)
    await transaction.webhooks.get(identifier)
    bound: dict[str, Any] = {
        "tenant": transaction.tenant_id,
        "listing": f"deliveries of {identifier}",
        "filters": {"state": state},
    }
    position = cursors.read(cursor, **bound)
    found = await transaction.webhook_deliveries.list_page(
        identifier,
        state=state,
        limit=limit + 1,
        before=UUID(position[0]) if position else None,
    )
    items = list(found[:limit])
    more = len(found) > limit
    return DeliveryPage(
        items=items, next_cursor=cursors.write([str(items[-1].id)], **bound) if more else None
    )


@router.get(
    "/{webhook_id}/deliveries/{delivery_id}",
    responses=problems(WebhookNotFound, DeliveryNotFound, *COMMON),
)
async def get_delivery(transaction: ReadTransaction, webhook_id: str, delivery_id: str) -> Delivery:
    """One delivery with its tries."""
    identifier = _webhook_id(webhook_id)
    await transaction.webhooks.get(identifier)
    return await transaction.webhook_deliveries.get(identifier, _delivery_id(delivery_id))


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/replay",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems(WebhookNotFound, DeliveryNotFound, WebhookDisabled, *COMMON),
)
async def replay(call: Call, webhook_id: str, delivery_id: str) -> Delivery:
    """Send a delivery again, with the same event and the same `webhook-id`."""
    return await call.replay(_webhook_id(webhook_id), _delivery_id(delivery_id))


@router.post(
    "/{webhook_id}/replay",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems(WebhookNotFound, WebhookDisabled, *COMMON),
    openapi_extra=_bodies(REPLAYS),
)
async def replay_since(call: Call, webhook_id: str, which: ReplayRequest) -> ReplayAnswer:
    """Send again what failed, or everything, since a moment: a thousand deliveries at a time."""
    return await call.replay_since(
        _webhook_id(webhook_id), which.since, only_failed=which.only_failed
    )
