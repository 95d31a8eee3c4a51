"""Listings that come page by page."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from rich.table import Table

from stella_cli.failures import ServerFailed
from stella_cli.replies import Reply
from stella_cli.screen import Screen

LARGEST_PAGE = 200
MOST_PAGES = 5000

Row = TypeVar("Row")
Row_co = TypeVar("Row_co", covariant=True)


class Page(Protocol[Row_co]):
    """Some of a listing, and where the rest begins."""

    @property
    def items(self) -> Sequence[Row_co]: ...
    @property
    def next_cursor(self) -> str | None: ...


def pages(fetch: Callable[[str | None], Reply[Page[Row]]]) -> Iterator[Reply[Page[Row]]]:
    """
    Every page of a listing, each read when the one before was taken.

    `fetch` gets a cursor. Raises ServerFailed when a listing seems to have no end.
    """
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = fetch(cursor)
        yield page
        if page.value.next_cursor is None:
            return
        if page.value.next_cursor == cursor:
            raise ServerFailed("The listing does not go on: its cursor repeats.")
        cursor = page.value.next_cursor
    raise ServerFailed(f"The listing has more than {MOST_PAGES} pages. Narrow it with a filter.")


def show_pages(
    screen: Screen,
    fetch: Callable[[int | None, str | None], Reply[Page[Row]]],
    table: Callable[[Sequence[Row]], Table],
    *,
    limit: int | None,
    every_page: bool,
) -> None:
    """Show the first page of a listing or all; `fetch` gets a page's limit, and a cursor."""
    if every_page:
        read = list(pages(lambda cursor: fetch(limit or LARGEST_PAGE, cursor)))
    else:
        read = [fetch(limit, None)]
    rows = [row for page in read for row in page.value.items]
    screen.show(_one_document(read), table(rows))
    if read[-1].value.next_cursor:
        screen.note("There are more: --all shows every one.")


def _one_document(read: Sequence[Reply[Page[Row]]]) -> dict[str, Any]:
    """One page as it came; of more the items in one, as if there were no pages."""
    if len(read) == 1:
        return dict(read[0].document)
    items = [item for page in read for item in page.document["items"]]
    return {"items": items, "nextCursor": read[-1].value.next_cursor}
