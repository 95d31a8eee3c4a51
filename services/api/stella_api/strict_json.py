"""JSON as strict as what is behind it: what PostgreSQL or a reader could not hold is refused."""

import json
import re
from typing import Any, NoReturn

from stella_api.problems import pointer
from stella_contracts.errors import Malformed, Problem

DEEPEST = 32
MOST_KEYS = 1000
LARGEST_INTEGER = 2**53 - 1
"""Beyond it, readers in JavaScript see another number (RFC 8259, section 6)."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class MalformedBody(Malformed):
    code = "malformed_body"

    def __init__(self, detail: str, place: str = "") -> None:
        super().__init__(f"The body cannot be read: {detail}")
        self.problems = [Problem(place, detail)]


def check_json(body: bytes) -> None:
    """Raise MalformedBody, with the place, unless the body is JSON that can be stored and read."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedBody("It is not UTF-8.") from error
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except json.JSONDecodeError as error:
        raise MalformedBody(
            f"It is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from error
    except RecursionError as error:
        raise MalformedBody(f"It is nested deeper than {DEEPEST} levels.") from error
    _check(value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise MalformedBody(f"The key {key[:50]!r} is there twice.")
        found[key] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedBody(f"{name} is not a JSON number.")


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > LARGEST_INTEGER:
        raise MalformedBody(f"A whole number is larger than {LARGEST_INTEGER}.")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise MalformedBody("A number is too large.")
    return value


def _check(value: Any) -> None:
    """Walk without recursion: the depth is what is being judged."""
    keys = 0
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while waiting:
        current, path = waiting.pop()
        if isinstance(current, dict | list) and len(path) >= DEEPEST:
            raise MalformedBody(f"It is nested deeper than {DEEPEST} levels.", pointer(path[:3]))
        if isinstance(current, str) and _UNSTORABLE.search(current):
            raise MalformedBody("Text holds NUL or half a surrogate pair.", pointer(path))
        if isinstance(current, dict):
            keys += len(current)
            if any(_UNSTORABLE.search(key) for key in current):
                raise MalformedBody("A key holds NUL or half a surrogate pair.", pointer(path))
            waiting += [(each, (*path, key)) for key, each in current.items()]
        elif isinstance(current, list):
            keys += len(current)
            waiting += [(each, (*path, index)) for index, each in enumerate(current)]
        if keys > MOST_KEYS:
            raise MalformedBody(f"It has more than {MOST_KEYS} keys and items.")
