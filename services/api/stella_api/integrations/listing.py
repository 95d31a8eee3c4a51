"""The answers of the catalog's reads: one integration, and a page with the cursor of the next."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from starlette.datastructures import State
from starlette.responses import Response

from stella_api.authentication import Actor
from stella_api.cursors import Cursors
from stella_api.integrations.crud_span import crud_span
from stella_api.integrations.preconditions import etag_of, is_known
from stella_api.integrations.references import as_seen, seen
from stella_contracts.integrations import Connection
from stella_runtime.persistence import Database
from stella_runtime.persistence.integrations import Filters, Position, Sort, sort_value


@dataclass(frozen=True, slots=True)
class Listing:
    """What is listed, how, and from where."""

    name: str
    filters: Filters
    sort: Sort
    limit: int
    cursor: str | None


async def get_integration(
    parts: State, actor: Actor, identifier: UUID, if_none_match: str | None
) -> Response:
    """The answer with one integration, as the caller may see it. Raises IntegrationNotFound."""
    database: Database = parts.database
    parts.metrics.crud("read")
    with crud_span("read", actor.tenant_id) as span:
        span.set(integration_id=str(identifier))
        found = await database.documents.get(actor.tenant_id, identifier)
        span.set(provider_type=found.type)
    connection = None
    if found.connection is not None:
        connection = Connection.model_validate_json(found.connection)
    headers = {"ETag": etag_of(found.version, found.status, connection)}
    if is_known(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    body = as_seen(actor, found.text, found.auth_ref_uri)
    return Response(body, headers=headers, media_type="application/json")


async def list_integrations(parts: State, actor: Actor, listing: Listing) -> Response:
    """
    The answer with an IntegrationPage of what the caller may see.

    Raises MalformedCursor unless the cursor is of this listing, its filters and its tenant.
    """
    database: Database = parts.database
    cursors: Cursors = parts.cursors
    parts.metrics.crud("read")
    bound: dict[str, Any] = {
        "tenant": actor.tenant_id,
        "listing": listing.name,
        "filters": asdict(listing.filters) | {"sort": listing.sort},
    }
    position = cursors.read(listing.cursor, **bound)
    after = None if position is None else Position(value=position[0], id=UUID(position[1]))
    with crud_span("list", actor.tenant_id):
        # One more than asked for tells whether there is a next page.
        rows = listing.limit + 1
        positions: list[tuple[object, UUID]]
        if _is_in_the_order_of_ids(listing):
            found = await database.documents.list_page(
                actor.tenant_id,
                provider_type=listing.filters.type or None,
                only_enabled=bool(listing.filters.enabled),
                after=None if after is None else after.id,
                limit=rows,
            )
            texts = [as_seen(actor, each.text, each.auth_ref_uri) for each in found]
            positions = [(each.id, each.id) for each in found]
        else:
            async with database.transaction(actor.tenant_id) as transaction:
                items = await transaction.integrations.list_page(
                    listing.filters, sort=listing.sort, limit=rows, after=after
                )
            texts = [each.model_dump_json() for each in seen(actor, items)]
            positions = [(sort_value(each, listing.sort), each.id) for each in items]
    next_cursor = None
    if len(texts) == rows:
        next_cursor = cursors.write([str(each) for each in positions[-2]], **bound)
    body = page_of(texts[: listing.limit], next_cursor)
    return Response(body, media_type="application/json")


def page_of(texts: Sequence[str], next_cursor: str | None) -> bytes:
    """An IntegrationPage of records that are JSON already."""
    cursor = "null" if next_cursor is None else f'"{next_cursor}"'
    return f'{{"items":[{",".join(texts)}],"nextCursor":{cursor}}}'.encode()


def _is_in_the_order_of_ids(listing: Listing) -> bool:
    """Whether it is what other modules ask for all day, for which there is a shorter way."""
    filters = listing.filters
    is_searched = filters.status or filters.tag or filters.q
    return listing.sort is Sort.CREATED and not is_searched
