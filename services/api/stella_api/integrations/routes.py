"""Routes of the catalog. HTTP in, HTTP out; decisions are in `service`."""

import hashlib
import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response, status
from fastapi.responses import RedirectResponse

from stella_api.authentication import Actor
from stella_api.dependencies import (
    CurrentDatabase,
    CurrentMetrics,
    CurrentRules,
    Plugins,
    Reader,
    RequestId,
    Writer,
    WriteTransaction,
)
from stella_api.examples import CREATE_BODIES, UPDATE_BODIES
from stella_api.identifiers import as_uuid, require_uuid
from stella_api.integrations import service
from stella_api.integrations.crud_span import crud_span
from stella_api.integrations.listing import Listing, get_integration, list_integrations
from stella_api.integrations.preconditions import (
    etag,
    required_versions_of,
    versions_of,
)
from stella_api.integrations.service import Call
from stella_api.plugin_catalog import PluginCatalog, PluginNotReady
from stella_api.problems import problems
from stella_contracts.errors import (
    ConfigRejected,
    DatabaseUnavailable,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    IfMatchMissing,
    IntegrationNotFound,
    MalformedCursor,
    MalformedPrecondition,
    NameTaken,
    ScopeMissing,
    TokenRejected,
    UnknownProvider,
    VersionMismatch,
)
from stella_contracts.health import IntegrationStatus
from stella_contracts.integrations import (
    PROVIDER_TYPE_PATTERN,
    Integration,
    IntegrationCreate,
    IntegrationPage,
    IntegrationUpdate,
)
from stella_runtime.persistence import Database
from stella_runtime.persistence.idempotency_keys import StoredAnswer
from stella_runtime.persistence.integrations import Filters, Sort

router = APIRouter(prefix="/integrations", tags=["integrations"])

PROVIDER_TYPE = re.compile(PROVIDER_TYPE_PATTERN)
COMMON = (TokenRejected, ScopeMissing, DatabaseUnavailable)

Limit = Annotated[int, Query(ge=1, le=200)]
Cursor = Annotated[str | None, Query(max_length=2048, description="The last page's nextCursor.")]
IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")
]
IfMatch = Annotated[str | None, Header(description="The ETag that the change is based on.")]


@router.get("", response_model=IntegrationPage, responses=problems(MalformedCursor, *COMMON))
async def list_all(
    actor: Reader,
    request: Request,
    type: Annotated[str | None, Query(max_length=64)] = None,  # noqa: A002 - its name in the URL
    status: IntegrationStatus | None = None,
    tag: Annotated[str | None, Query(max_length=64)] = None,
    q: Annotated[str | None, Query(max_length=200, description="Part of name or text.")] = None,
    sort: Sort = Sort.CREATED,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List the tenant's integrations, page by page."""
    filters = Filters(type=type, status=status, tag=tag, q=q)
    listing = Listing("integrations", filters, sort, limit, cursor)
    return await list_integrations(request.app.state, actor, listing)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=Integration,
    responses=problems(
        NameTaken,
        UnknownProvider,
        PluginNotReady,
        ConfigRejected,
        IdempotencyKeyInUse,
        IdempotencyKeyReused,
        *COMMON,
    ),
    openapi_extra={"requestBody": {"content": {"application/json": {"examples": CREATE_BODIES}}}},
)
async def register(
    actor: Writer,
    new: IntegrationCreate,
    request: Request,
    request_id: RequestId,
    transaction: WriteTransaction,
    rules: CurrentRules,
    metrics: CurrentMetrics,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Register a connection to an external tool. Its first check runs within seconds."""
    if idempotency_key is not None:
        fingerprint = hashlib.sha256(b"POST /integrations\n" + await request.body()).digest()
        keys = transaction.idempotency_keys
        stored = await keys.reserve(actor.subject, idempotency_key, fingerprint)
        if stored is not None:
            return _answer(stored)
    with crud_span("create", actor.tenant_id) as span:
        span.set(provider_type=new.type)
        integration = await service.register(transaction, Call(actor, request_id), new, rules)
        span.set(integration_id=str(integration.id))
    answer = StoredAnswer(
        status=status.HTTP_201_CREATED,
        headers={
            "Location": f"/api/v1/integrations/{integration.id}",
            "ETag": etag(integration),
        },
        body=integration.model_dump_json().encode(),
    )
    if idempotency_key is not None:
        await transaction.idempotency_keys.store(actor.subject, idempotency_key, answer)
    metrics.crud("create")
    return _answer(answer)


def _answer(stored: StoredAnswer) -> Response:
    return Response(
        stored.body,
        status_code=stored.status,
        headers=stored.headers,
        media_type="application/json",
    )


@router.get(
    "/by-type/{provider_type}",
    response_model=IntegrationPage,
    responses=problems(MalformedCursor, *COMMON),
)
async def list_of_type(
    actor: Reader,
    request: Request,
    provider_type: str,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Connection details of the enabled integrations of one type, for modules that use them."""
    filters = Filters(type=provider_type[:64], enabled=True)
    listing = Listing("by-type", filters, Sort.CREATED, limit, cursor)
    return await list_integrations(request.app.state, actor, listing)


@router.get(
    "/{integration_id}",
    response_model=Integration,
    responses={
        304: {"description": "If-None-Match names what is there."},
        307: {"description": "It is a provider type: see by-type."},
        **problems(IntegrationNotFound, *COMMON),
    },
)
async def get(
    actor: Reader,
    request: Request,
    integration_id: str,
    database: CurrentDatabase,
    plugins: Plugins,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Get one integration."""
    identifier = as_uuid(integration_id)
    if identifier is None:
        if await _is_provider(database, actor, plugins, integration_id):
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(f"/api/v1/integrations/by-type/{integration_id}{query}")
        raise IntegrationNotFound(integration_id)
    return await get_integration(request.app.state, actor, identifier, if_none_match)


async def _is_provider(database: Database, actor: Actor, plugins: PluginCatalog, text: str) -> bool:
    if not PROVIDER_TYPE.fullmatch(text):
        return False
    async with database.transaction(actor.tenant_id) as transaction:
        return await plugins.is_provider(text, transaction.plugins)


@router.put(
    "/{integration_id}",
    responses=problems(
        IntegrationNotFound,
        NameTaken,
        VersionMismatch,
        IfMatchMissing,
        MalformedPrecondition,
        ConfigRejected,
        UnknownProvider,
        PluginNotReady,
        *COMMON,
    ),
    openapi_extra={"requestBody": {"content": {"application/json": {"examples": UPDATE_BODIES}}}},
)
async def change(
    actor: Writer,
    integration_id: str,
    update: IntegrationUpdate,
    response: Response,
    request_id: RequestId,
    transaction: WriteTransaction,
    rules: CurrentRules,
    metrics: CurrentMetrics,
    if_match: IfMatch = None,
) -> Integration:
    """Change what is sent and keep the rest. `authRefUri: null` removes the reference."""
    identifier = require_uuid(integration_id)
    with crud_span("update", actor.tenant_id) as span:
        span.set(integration_id=integration_id)
        integration = await service.change(
            transaction,
            Call(actor, request_id),
            identifier,
            update,
            required_versions_of(if_match),
            rules,
        )
        span.set(provider_type=integration.type)
    metrics.crud("update")
    response.headers["ETag"] = etag(integration)
    return integration


@router.delete(
    "/{integration_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(IntegrationNotFound, VersionMismatch, MalformedPrecondition, *COMMON),
)
async def remove(
    actor: Writer,
    integration_id: str,
    request_id: RequestId,
    transaction: WriteTransaction,
    metrics: CurrentMetrics,
    if_match: IfMatch = None,
) -> None:
    """Remove an integration. It is checked no more; its history stays until retention ends it."""
    identifier = require_uuid(integration_id)
    with crud_span("delete", actor.tenant_id) as span:
        span.set(integration_id=integration_id)
        await service.remove(
            transaction, Call(actor, request_id), identifier, versions_of(if_match)
        )
    metrics.crud("delete")
