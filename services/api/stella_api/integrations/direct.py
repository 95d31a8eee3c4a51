"""
The reads that other modules make all day, past the machinery that finds and calls a route.

They do what their routes do, by the same functions, and for their plain forms alone: whatever is
unusual about a request, an error in its parameters included, is left to the routes. Solving
dependencies and matching routes costs more than everything else of such a read.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stella_api.authentication import Actor
from stella_api.dependencies import READ, authenticate
from stella_api.integrations.listing import Listing, get_integration, list_integrations
from stella_contracts.errors import StellaError
from stella_runtime.persistence.integrations import Filters, Sort

ROOT = "/api/v1/integrations"
MOST = 200
LONGEST_TYPE = 64
LONGEST_CURSOR = 2048

_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_PATH = re.compile(rf"{ROOT}(?:/(?P<id>{_UUID})|/by-type/(?P<type>[a-z][a-z0-9-]*))?")


@dataclass(frozen=True, slots=True)
class _Route:
    """What logs, metrics and traces call the request by."""

    path: str


_GET = _Route("/integrations/{integration_id}")
_LIST = _Route("/integrations")
_BY_TYPE = _Route("/integrations/by-type/{provider_type}")

_Reading = Callable[[Request, Actor], Awaitable[Response]]


class DirectReads:
    """Answers plain reads of the catalog, and passes everything else on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reading = _reading_of(scope)
        if reading is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            actor = await authenticate(request, READ)
            response = await reading(request, actor)
        except StellaError as error:
            response = await request.app.exception_handlers[StellaError](request, error)
        await response(scope, receive, send)


def _reading_of(scope: Scope) -> _Reading | None:
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    found = _PATH.fullmatch(scope["path"])
    if found is None:
        return None
    if found["id"] is not None:
        if scope["query_string"]:
            return None
        scope["route"] = _GET
        scope["path_params"] = {"integration_id": found["id"]}
        return _getting(UUID(found["id"]))
    listing = _listing_of(scope["query_string"], found["type"])
    if listing is None:
        return None
    scope["route"] = _LIST if found["type"] is None else _BY_TYPE
    return _listing(listing)


def _getting(identifier: UUID) -> _Reading:
    async def get(request: Request, actor: Actor) -> Response:
        return await get_integration(
            request.app.state, actor, identifier, request.headers.get("if-none-match")
        )

    return get


def _listing(listing: Listing) -> _Reading:
    async def list_page(request: Request, actor: Actor) -> Response:
        return await list_integrations(request.app.state, actor, listing)

    return list_page


def _listing_of(query: bytes, by_type: str | None) -> Listing | None:
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    asked = dict(given)
    is_plain = len(asked) == len(given) and asked.keys() <= {"limit", "cursor", "type"}
    limit, cursor, kind = asked.get("limit", "50"), asked.get("cursor"), asked.get("type")
    if (
        not is_plain
        or not (limit.isascii() and limit.isdecimal() and len(limit) <= 3)
        or not 1 <= int(limit) <= MOST
        or len(cursor or "") > LONGEST_CURSOR
        or len(kind or "") > LONGEST_TYPE
    ):
        return None
    if by_type is None:
        return Listing("integrations", Filters(type=kind), Sort.CREATED, int(limit), cursor)
    if kind is not None or len(by_type) > LONGEST_TYPE:
        return None
    filters = Filters(type=by_type, enabled=True)
    return Listing("by-type", filters, Sort.CREATED, int(limit), cursor)
