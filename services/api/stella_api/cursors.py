"""Where the next page begins: signed, and good for one listing of one tenant."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from itsdangerous import BadData, URLSafeTimedSerializer

from stella_contracts.errors import MalformedCursor

GOOD_FOR_SECONDS = 24 * 3600
LONGEST_CURSOR = 2048


class Cursors:
    """Makes cursors and reads them back."""

    def __init__(self, key: str, *, good_for_seconds: int = GOOD_FOR_SECONDS) -> None:
        self._key = key
        self._good_for_seconds = good_for_seconds

    def write(
        self, position: Sequence[str], *, tenant: str, listing: str, filters: Mapping[str, Any]
    ) -> str:
        """A cursor for a position, bound to what is listed."""
        return self._signer(tenant, listing, filters).dumps(list(position))

    def read(
        self, cursor: str | None, *, tenant: str, listing: str, filters: Mapping[str, Any]
    ) -> list[str] | None:
        """The position. Raises MalformedCursor unless it was made for the same listing."""
        if cursor is None:
            return None
        if len(cursor) > LONGEST_CURSOR:
            raise MalformedCursor
        try:
            found = self._signer(tenant, listing, filters).loads(
                cursor, max_age=self._good_for_seconds
            )
        except (BadData, ValueError) as error:
            raise MalformedCursor from error
        return cast("list[str]", found)

    def _signer(
        self, tenant: str, listing: str, filters: Mapping[str, Any]
    ) -> URLSafeTimedSerializer:
        bound = sorted((name, str(value)) for name, value in filters.items() if value is not None)
        return URLSafeTimedSerializer(self._key, salt=repr((tenant, listing, bound)))
