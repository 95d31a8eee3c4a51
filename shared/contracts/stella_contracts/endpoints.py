"""The base URL of a tool, as people write it, read once."""

import re
from dataclasses import dataclass
from typing import Self

import httpx

_DEFAULT_PORT = {"http": ":80", "https": ":443"}

_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?", re.ASCII)
_ADDRESS = re.compile(r"[0-9a-f:.]*:[0-9a-f:.]*", re.ASCII)
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f\\]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A base URL: in small letters where case means nothing, without the scheme's own port."""

    scheme: str
    host: str
    """A name or an address; one of IPv6 without brackets."""

    authority: str
    """Host and port as they stand in a URL."""

    path: str
    """The path in front of the API, or nothing. No slash at its end."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read a base URL.

        Raises ValueError, whose text is for people and never repeats the input: there may be a
        password in it.
        """
        # httpx would take some of these away without a word.
        if _UNSAFE.search(text):
            raise ValueError("It may hold no spaces, control characters or backslashes.")
        if "?" in text or "#" in text:
            raise ValueError("It is a base URL: leave out the query and what follows #.")
        if any(segment in {".", ".."} for segment in text.split("/")):
            raise ValueError("Its path may not hold . or .. segments.")
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, ValueError):
            raise ValueError("It is not a URL, such as https://tool.example.") from None
        _check_place(url)
        return cls(
            scheme=url.scheme,
            host=url.raw_host.decode(),
            authority=url.netloc.decode().removesuffix(_DEFAULT_PORT[url.scheme]),
            path=url.raw_path.decode().rstrip("/"),
        )

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    def api_root(self, api_path: str) -> str:
        """
        The root of an API that lies at this path below the base URL.

        The base URL may end with that path already; the result has no slash at its end.
        """
        prefix = self.path.removesuffix(api_path).rstrip("/")
        return f"{self.origin}{prefix}{api_path}"


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
