"""From the base URL that people have to the root of GitHub's API."""

import re

from stella_contracts.endpoints import Endpoint

ENTERPRISE_PATH = "/api/v3"
_CLOUD_ROOT = "https://api.github.com"

# Names, and not what they end with: mygithub.com and evilghe.com are somebody else's.
_CLOUD = re.compile(r"([a-z0-9-]+\.)?github\.com")
_TENANCY = re.compile(r"(?:api\.)?(?P<name>[a-z0-9-]+)\.ghe\.com")
_OTHER_APIS = ("/api/graphql", "/api/v4", "/api/uploads")


def api_root_of(endpoint: str) -> str:
    """
    The root of the REST API, without a slash at its end.

    That of github.com is a host of its own, as is that of each subdomain of ghe.com; that of an
    Enterprise Server lies at a path. Raises ValueError, whose text never repeats the input.
    Source: cli/go-gh, pkg/auth and pkg/api/rest_client.go.
    """
    parsed = Endpoint.parse(endpoint)
    if parsed.path.endswith(_OTHER_APIS):
        raise ValueError("It is that of another API than REST: give the base URL of GitHub.")
    if _CLOUD.fullmatch(parsed.host):
        _check_cloud(parsed)
        return _CLOUD_ROOT
    if tenancy := _TENANCY.fullmatch(parsed.host):
        _check_cloud(parsed)
        # api.ghe.com is no tenancy, and would become its own API's.
        if tenancy["name"] != "api":
            return f"https://api.{tenancy['name']}.ghe.com"
    if parsed.host == "ghe.com" or parsed.host.endswith(".ghe.com"):
        raise ValueError("On ghe.com, give https://SUBDOMAIN.ghe.com.")
    return parsed.api_root(ENTERPRISE_PATH)


def _check_cloud(parsed: Endpoint) -> None:
    if parsed.scheme != "https" or parsed.authority != parsed.host:
        raise ValueError("GitHub's own hosts are called by https:// and without a port.")
    if parsed.path:
        raise ValueError("It is a base URL: leave out what follows the host.")
