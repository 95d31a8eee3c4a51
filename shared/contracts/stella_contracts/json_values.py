"""What of JSON can be kept: PostgreSQL and other readers know less of it than Python's parser."""

import math
from typing import Any

from stella_contracts.problems import pointer_to

MAX_DEPTH = 32
_INTEGERS = range(-(2**63), 2**63)


def storable(document: Any) -> Any:
    """
    Return the document as it is.

    Raises ValueError, which names the place (RFC 6901) and not the value, if it is nested
    more than MAX_DEPTH levels deep or holds NUL, half a surrogate pair, NaN, an infinity or
    an integer beyond 64 bits.
    """
    waiting: list[tuple[str, Any, int]] = [("", document, 0)]
    while waiting:
        pointer, value, depth = waiting.pop()
        wrong = "It is nested too deeply." if depth > MAX_DEPTH else _wrong(value)
        if wrong:
            raise ValueError(f"At {pointer or '/'}: {wrong}")
        if isinstance(value, dict):
            for key, inner in value.items():
                if wrong := _wrong(key):
                    raise ValueError(f"In a key below {pointer or '/'}: {wrong}")
                waiting.append((f"{pointer}{pointer_to(str(key)[:64])}", inner, depth + 1))
        elif isinstance(value, list):
            waiting += [(f"{pointer}/{i}", inner, depth + 1) for i, inner in enumerate(value)]
    return document


def _wrong(value: Any) -> str | None:
    match value:
        case str() if "\x00" in value:
            return "NUL is not allowed."
        case str() if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            return "The text is not Unicode."
        case int() if value not in _INTEGERS:
            return "The number is too large."
        case float() if not math.isfinite(value):
            return "NaN and infinities are not JSON."
    return None
