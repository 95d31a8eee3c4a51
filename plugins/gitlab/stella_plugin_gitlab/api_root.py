"""From the base URL that people have to the root of GitLab's API."""

from stella_contracts.endpoints import Endpoint

API_PATH = "/api/v4"


def api_root_of(endpoint: str) -> str:
    """
    The root of the API, without a slash at its end; a relative URL root stays in front of it.

    Raises ValueError, whose text never repeats the input.
    """
    parsed = Endpoint.parse(endpoint)
    if parsed.path.endswith("/api/graphql"):
        raise ValueError("It is that of the GraphQL API: leave out /api/graphql.")
    return parsed.api_root(API_PATH)
