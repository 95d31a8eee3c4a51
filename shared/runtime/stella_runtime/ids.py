"""Identifiers: UUIDv7 (RFC 9562), whose order is the order of their making."""

from datetime import UTC, datetime
from uuid import UUID

import uuid_utils.compat


def new_id() -> UUID:
    return uuid_utils.compat.uuid7()


_LATEST_MILLISECONDS = 2**47  # in the year 6429; twice as many are no date of Python's


def moment_of(identifier: UUID) -> datetime:
    """When a UUIDv7 was made, to the millisecond. Any moment at all for other UUIDs."""
    milliseconds = min(identifier.int >> 80, _LATEST_MILLISECONDS)
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
