"""Takes the values of a secret out of what a plugin says."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import structlog

log = structlog.get_logger()

SHORTEST = 4
"""Shorter values stay: taking each `a` out of a text would tell more than it hides."""

MASK = "***"


class Scrubber:
    """Knows the values of one secret, also as they are written in URLs."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        written = {text for value in values for text in (value, quote(value, safe=""))}
        # The longest first: one value may be part of another.
        self._values = sorted((v for v in written if len(v) >= SHORTEST), key=len, reverse=True)

    def scrub(self, text: str) -> str:
        """The text without them, and without what cannot be shown or kept, such as NUL."""
        for value in self._values:
            text = text.replace(value, MASK)
        if text.isprintable():
            return text
        return "".join(char if char.isprintable() else " " for char in text)


class PluginLog:
    """The log that a plugin gets: it says which check it was, and masks its secret."""

    def __init__(self, about: Callable[[], Mapping[str, str]], scrubber: Scrubber) -> None:
        self._about = about
        self._scrubber = scrubber

    def debug(self, event: str, **fields: Any) -> None:
        log.debug(self._scrubber.scrub(str(event)), **self._safe(fields))

    def info(self, event: str, **fields: Any) -> None:
        log.info(self._scrubber.scrub(str(event)), **self._safe(fields))

    def warning(self, event: str, **fields: Any) -> None:
        log.warning(self._scrubber.scrub(str(event)), **self._safe(fields))

    def _safe(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        safe = {name: self._scrubbed(value) for name, value in fields.items()}
        return {**safe, **self._about()}

    def _scrubbed(self, value: Any) -> Any:
        is_plain = value is None or isinstance(value, bool | int | float)
        return value if is_plain else self._scrubber.scrub(str(value))
