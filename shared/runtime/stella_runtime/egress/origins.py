"""To whom an integration's requests, and with them its secret, may go."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import httpx

from stella_contracts.manifest import Manifest

_PORTS = {"http": 80, "https": 443}
_ENDPOINT = "endpoint"
_OWN_HOST = "{host}"
_PLAIN_PATH = re.compile(r"[\w.~!$&'()*+,;=:@/-]*", re.ASCII)
"""What httpx neither normalises nor escapes, dot segments aside."""


class Origin(NamedTuple):
    """What of a URL decides who gets a request."""

    scheme: str
    host: str
    port: int


Host = tuple[str, int]
"""Name or address, and port: what is busy, or does not answer, whatever is asked of it."""


def host_of(settings: Mapping[str, Any]) -> Host | None:
    """The host of an integration's endpoint, or None if it has none."""
    endpoint = settings.get(_ENDPOINT)
    if not isinstance(endpoint, str) or (origin := parsed_origin(endpoint)) is None:
        return None
    return origin.host, origin.port


def origin_text(settings: Mapping[str, Any]) -> str | None:
    """The origin of an integration's endpoint as people write it, or None if it has none."""
    endpoint = settings.get(_ENDPOINT)
    if not isinstance(endpoint, str) or (origin := parsed_origin(endpoint)) is None:
        return None
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = "" if origin.port == _PORTS[origin.scheme] else f":{origin.port}"
    return f"{origin.scheme}://{host}{port}"


def origin_of(url: httpx.URL) -> Origin | None:
    """The origin of a URL, or None if it is none that HTTP can reach."""
    scheme = url.scheme
    default = _PORTS.get(scheme)
    if default is None or not url.raw_host:
        return None
    port = default if url.port is None else url.port
    return Origin(scheme, url.raw_host.decode("ascii"), port) if 0 < port < 65536 else None


def origins_of(manifest: Manifest, settings: Mapping[str, Any]) -> frozenset[Origin]:
    """
    Those that the config names, and over HTTPS those that the manifest names besides.

    An allowed host may name a port, such as `auth.example:8443`, and stand below the host of
    the endpoint, such as `api.{host}`.
    """
    origins = set()
    for field in (_ENDPOINT, *manifest.identity_fields):
        value = settings.get(field)
        if isinstance(value, str) and (origin := parsed_origin(value)) is not None:
            origins.add(origin)
    own = host_of(settings) if manifest.allowed_hosts else None
    for host in manifest.allowed_hosts:
        if own is None and _OWN_HOST in host:
            continue
        named = host if own is None else host.replace(_OWN_HOST, own[0])
        if (origin := parsed_origin(f"https://{named}")) is not None:
            origins.add(origin)
    return frozenset(origins)


def url_of(text: str) -> httpx.URL:
    """
    What `httpx.URL(text)` is, with the part of it that many share parsed once.

    Parsing a URL takes httpx longer than its request takes. Raises httpx.InvalidURL.
    """
    scheme, separator, rest = text.partition("://")
    authority, slash, path = rest.partition("/")
    if slash and _PLAIN_PATH.fullmatch(path) and "/." not in f"/{path}":
        shared = _parsed_url(f"{scheme}{separator}{authority}")
        parts = shared._uri_reference  # noqa: SLF001 - no public way; rests on httpx 0.28
        if not parts.path and parts.query is None and parts.fragment is None:
            url = httpx.URL.__new__(httpx.URL)
            url._uri_reference = parts._replace(path=f"/{path}")  # noqa: SLF001
            return url
    return httpx.URL(text)


def parsed_origin(url: str) -> Origin | None:
    """The origin of a URL in text, or None."""
    # An authority ends at the first slash, if not before: what follows cannot change the origin.
    # Of a million endpoints that differ in their paths, each would be parsed in every check.
    scheme, separator, rest = url.partition("://")
    return _parsed(f"{scheme}{separator}{rest.partition('/')[0]}")


@lru_cache(16_384)
def _parsed(url: str) -> Origin | None:
    # What is no URL is no origin: every request is then refused, which is what is safe.
    try:
        return origin_of(_parsed_url(url))
    except (httpx.InvalidURL, ValueError):
        return None


@lru_cache(16_384)
def _parsed_url(url: str) -> httpx.URL:
    return httpx.URL(url)
