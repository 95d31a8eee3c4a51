"""What a registry demands of who is not logged in: the header WWW-Authenticate, RFC 9110."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PART = re.compile(
    rf"[\s,]*(?:(?P<name>{_WORD})\s*=\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>{_WORD}))"
    rf"|(?P<scheme>{_WORD}))(?=[\s,]|$)"
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to log in."""

    scheme: str
    """In small letters: `basic`, `bearer`."""

    parameters: Mapping[str, str] = field(default_factory=dict)
    """By their names in small letters, such as `realm`."""


def challenges_of(response: httpx.Response) -> Sequence[Challenge]:
    """Those that can be read, up to where a header breaks the grammar."""
    return [
        challenge
        for header in response.headers.get_list("www-authenticate")
        for challenge in _read(header)
    ]


def _read(header: str) -> Sequence[Challenge]:
    found: list[tuple[str, dict[str, str]]] = []
    place = 0
    while part := _PART.match(header, place):
        place = part.end()
        if scheme := part["scheme"]:
            found.append((scheme.lower(), {}))
        elif found:
            quoted = part["quoted"]
            value = part["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1][1].setdefault(part["name"].lower(), value)
    return [Challenge(scheme, parameters) for scheme, parameters in found]
