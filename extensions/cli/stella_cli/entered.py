"""From what was typed to a value: config, versions, moments, drafts of the API's bodies."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from stella_cli.failures import Refused
from stella_contracts.problems import problems_of

LARGEST_FILE_BYTES = 1024 * 1024

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_VERSION = re.compile(r'\*|"?(\d{1,18})"?')
_Draft = TypeVar("_Draft", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class TypedConfig:
    """What --config said, in the order in which it was said."""

    whole: dict[str, Any] | None
    """A whole config, or None when only single keys were given."""
    keys: dict[str, Any]
    """Single keys, which go over the whole."""

    def over(self, current: Mapping[str, Any]) -> dict[str, Any]:
        """The config meant: keys alone keep what is not named, a whole one replaces it."""
        return {**(current if self.whole is None else self.whole), **self.keys}


def parse_config(given: Sequence[str]) -> TypedConfig:
    """
    Each a JSON object, `@file` with one (`@-` is standard input), or `key=value`.

    A value that reads as JSON is JSON, any other is text: `port=1` is a number, `port='"1"'`
    text. Raises Refused, without repeating a value.
    """
    whole: dict[str, Any] | None = None
    keys: dict[str, Any] = {}
    for text in given:
        if text.startswith("@"):
            whole = _object(_file(text[1:]), text)
        elif text.lstrip().startswith("{"):
            whole = _object(text, "--config")
        else:
            key, equals, value = text.partition("=")
            if not equals or not key:
                raise Refused('--config takes key=value, a JSON object such as {"a": 1}, or @FILE.')
            keys[key] = _value(value)
    return TypedConfig(whole, keys)


def parse_version(text: str) -> str:
    """The number of an ETag, with or without its quotes, or `*`. Raises Refused."""
    match = _VERSION.fullmatch(text.strip())
    if not match:
        raise Refused("--if-match takes the version of the integration, such as 3, or *.")
    return match[1] or "*"


def parse_moment(text: str, *, now: datetime) -> datetime:
    """
    `2026-11-24T08:00Z`, in local time without a zone; or `30m`, `2h`, `7d` before `now`.

    Raises Refused.
    """
    try:
        ago = _AGO.fullmatch(text.strip())
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise Refused(
            "A moment is written like 2026-11-24T08:00Z, 2026-11-24, or 30m, 2h, 7d (ago)."
        ) from None


def parse_coming_moment(text: str, *, now: datetime) -> datetime:
    """As `parse_moment`, but 30m, 2h and 7d are after `now`. Raises Refused."""
    ahead = _AGO.fullmatch(text.strip())
    if ahead:
        return now + timedelta(**{_UNITS[ahead[2]]: int(ahead[1])})
    return parse_moment(text, now=now)


def named(**fields: Any) -> dict[str, Any]:
    """The options that were given; the others are None."""
    return {name: value for name, value in fields.items() if value is not None}


def draft(shape: type[_Draft], fields: Mapping[str, Any]) -> _Draft:
    """A body of the API. Raises Refused for what the server would refuse, with its pointers."""
    try:
        # By the names of the API, which errors then point with.
        return shape.model_validate({to_camel(name): value for name, value in fields.items()})
    except ValidationError as error:
        raise Refused("The input is not valid.", problems=problems_of(error)) from None


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def _object(text: str, source: str) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused(f"What {source} holds is not JSON.") from None
    if not isinstance(document, dict):
        raise Refused(f"What {source} holds is not a JSON object.")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _file(path: str) -> str:
    try:
        if path == "-":
            content = sys.stdin.buffer.read(LARGEST_FILE_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                content = file.read(LARGEST_FILE_BYTES + 1)
        if len(content) > LARGEST_FILE_BYTES:
            raise Refused(f"@{path} is larger than {LARGEST_FILE_BYTES} bytes.")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise Refused(f"@{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Refused(f"@{path} is not UTF-8 text.") from None
