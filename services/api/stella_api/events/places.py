"""Event ids of a stream: a place in the order of events, signed, and good for one tenant."""

from itsdangerous import BadData, URLSafeSerializer

from stella_runtime.persistence.events import Place

LONGEST_ID = 512


class Places:
    """Makes the ids and reads them back."""

    def __init__(self, key: str) -> None:
        self._key = key

    def write(self, place: Place, *, tenant_id: str) -> str:
        return str(self._signer(tenant_id).dumps(list(place)))

    def find(self, event_id: str, *, tenant_id: str) -> Place | None:
        """The place, or None for an id that is not one of this tenant's streams."""
        if len(event_id) > LONGEST_ID:
            return None
        try:
            found = self._signer(tenant_id).loads(event_id)
        except (BadData, ValueError):
            return None
        return Place(*found)

    def _signer(self, tenant_id: str) -> URLSafeSerializer:
        return URLSafeSerializer(self._key, salt=repr(("events", tenant_id)))
