"""Server-sent events (HTML standard, 9.2.6), and following them across lost connections."""

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from stella_cli.failures import Refused, ServerFailed

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
LARGEST_EVENT = 1024 * 1024

_COMES_BACK = {"server_stopping", "too_slow"}
"""Reasons of an end after which the same call goes on where it was."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One block: an event, or no more than an id to go on behind."""

    type: str
    data: str
    last_id: str | None


def parse(lines: Iterable[str]) -> Iterator[Sent]:
    """Blocks as they come. Raises ServerFailed for one that has no end."""
    event, data, size = "message", list[str](), 0
    last_id: str | None = None
    for line in lines:
        size += len(line)
        if size > LARGEST_EVENT:
            raise ServerFailed("The server sent an event that is too large.")
        if not line:
            yield Sent(event, "\n".join(data), last_id)
            event, data, size = "message", [], 0
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            event = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            last_id = value


Open = Callable[[str | None], AbstractContextManager[Iterator[str]]]
"""Begins a stream behind an id, and gives its lines."""


class Follower:
    """Reads a stream to its end, and goes on behind what it has read when it breaks off."""

    def __init__(
        self, open_stream: Open, *, pause: Callable[[float], None], note: Callable[[str], None]
    ) -> None:
        self._open_stream = open_stream
        self._pause = pause
        self._note = note
        self._last_id: str | None = None
        self._tries = 0
        self._is_away = False

    def events(self) -> Iterator[dict[str, Any]]:
        """
        The CloudEvents.

        A server that fails at the first try is a failure; later it is noted once and tried
        again, since it may come back. Raises Refused when the token has expired.
        """
        while True:
            try:
                with self._open_stream(self._last_id) as lines:
                    ended = yield from self._read(lines)
            except ServerFailed as failure:
                if self._last_id is None:
                    raise
                ended = "server_stopping"
                if not self._is_away:
                    self._note(f"{failure} Trying again.")
                self._is_away = True
            if ended not in _COMES_BACK:
                return
            seconds = min(FIRST_PAUSE_SECONDS * 2**self._tries, LONGEST_PAUSE_SECONDS)
            self._tries = min(self._tries + 1, 10)
            self._pause(seconds)

    def _read(self, lines: Iterator[str]) -> Generator[dict[str, Any], None, str]:
        """The events of one connection. The value of the generator is why it ended."""
        for sent in parse(lines):
            self._last_id = sent.last_id or self._last_id
            self._tries, self._is_away = 0, False
            if not sent.data:
                continue
            try:
                document = json.loads(sent.data)
            except (ValueError, RecursionError):
                raise Refused("The server sent an event that is not JSON.") from None
            if sent.type == "end":
                return self._why(document)
            if sent.type == "reset":
                self._note("Some events are lost: the server does not keep them any more.")
            else:
                yield document
        return "server_stopping"

    def _why(self, document: Any) -> str:
        reason = str(document.get("reason")) if isinstance(document, dict) else ""
        if reason == "token_expired":
            raise Refused("The token has expired. Log in again (stella login).")
        return reason
