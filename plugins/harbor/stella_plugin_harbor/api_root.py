"""From the base URL that people have to the root of Harbor's API."""

import re

import httpx

API_PATH = "/api/v2.0"
_DEFAULT_PORT = {"http": ":80", "https": ":443"}

_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?", re.ASCII)
_ADDRESS = re.compile(r"[0-9a-f:.]*:[0-9a-f:.]*", re.ASCII)
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f\\]")


def api_root_of(endpoint: str) -> str:
    """
    The root of the API, without a slash at its end.

    Takes a base URL with or without a slash, a path prefix or the API's own path behind it.
    Applied to its own result it changes nothing. Raises ValueError, whose text never repeats
    the input: there may be a password in it.
    """
    # httpx would take some of these away without a word.
    if _UNSAFE.search(endpoint):
        raise ValueError("It may hold no spaces, control characters or backslashes.")
    if "?" in endpoint or "#" in endpoint:
        raise ValueError("It is a base URL: leave out the query and what follows #.")
    if any(segment in {".", ".."} for segment in endpoint.split("/")):
        raise ValueError("Its path may not hold . or .. segments.")
    try:
        url = httpx.URL(endpoint)
    except (httpx.InvalidURL, ValueError):
        raise ValueError("It is not a URL, such as https://harbor.example.") from None
    _check_place(url)
    path = url.raw_path.decode().rstrip("/").removesuffix(API_PATH).rstrip("/")
    authority = url.netloc.decode().removesuffix(_DEFAULT_PORT[url.scheme])
    return f"{url.scheme}://{authority}{path}{API_PATH}"


def _check_place(url: httpx.URL) -> None:
    if url.scheme not in ("http", "https"):
        raise ValueError("It must start with https:// or http://.")
    if url.userinfo:
        raise ValueError("It may hold no credentials. Refer to them in authRefUri.")
    host = url.raw_host.decode()
    if not (_HOST_NAME.fullmatch(host) or _ADDRESS.fullmatch(host)):
        raise ValueError("It has no usable host name.")
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError("Its port must be from 1 to 65535.")
