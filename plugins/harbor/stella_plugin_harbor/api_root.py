"""From the base URL that people have to the root of Harbor's API."""

from stella_contracts.endpoints import Endpoint

API_PATH = "/api/v2.0"


def api_root_of(endpoint: str) -> str:
    """
    The root of the API, without a slash at its end.

    Takes a base URL with or without a slash, a path prefix or the API's own path behind it.
    Applied to its own result it changes nothing. Raises ValueError, whose text never repeats
    the input.
    """
    return Endpoint.parse(endpoint).api_root(API_PATH)
