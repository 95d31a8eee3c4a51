"""One page of a listing, and the cursor of the next."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from stella_api.cursors import Cursors
from stella_contracts.integrations import IntegrationPage
from stella_runtime.persistence import Transaction
from stella_runtime.persistence.integrations import Filters, Position, Sort, sort_value


@dataclass(frozen=True, slots=True)
class Listing:
    """What is listed, how, and from where."""

    name: str
    filters: Filters
    sort: Sort
    limit: int
    cursor: str | None


async def list_integrations(
    transaction: Transaction, cursors: Cursors, listing: Listing
) -> IntegrationPage:
    """Raises MalformedCursor unless the cursor is of this listing, its filters and its tenant."""
    bound: dict[str, Any] = {
        "tenant": transaction.tenant_id,
        "listing": listing.name,
        "filters": asdict(listing.filters) | {"sort": listing.sort},
    }
    position = cursors.read(listing.cursor, **bound)
    after = None if position is None else Position(value=position[0], id=UUID(position[1]))
    # One more than asked for tells whether there is a next page.
    found = await transaction.integrations.list_page(
        listing.filters, sort=listing.sort, limit=listing.limit + 1, after=after
    )
    items = list(found[: listing.limit])
    next_cursor = None
    if len(found) > listing.limit:
        last = items[-1]
        next_cursor = cursors.write([sort_value(last, listing.sort), str(last.id)], **bound)
    return IntegrationPage(items=items, next_cursor=next_cursor)
