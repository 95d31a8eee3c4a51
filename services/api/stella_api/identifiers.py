"""Ids in paths. What is no UUID names nothing, which is a 404 as for any unknown id."""

from uuid import UUID

from stella_contracts.errors import IntegrationNotFound


def as_uuid(text: str) -> UUID | None:
    """The id in its canonical form, or None."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def require_uuid(text: str) -> UUID:
    """Raises IntegrationNotFound."""
    found = as_uuid(text)
    if found is None:
        raise IntegrationNotFound(text)
    return found
