"""The JSON conventions of every DTO: camelCase outside, snake_case inside, times in UTC."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel

_BEGINS_WITH_A_YEAR = re.compile(r"\s*\d{4}-")


def _written_out(value: Any) -> Any:
    """Not as seconds since 1970, which pydantic takes for a moment, too."""
    if isinstance(value, int | float) or (
        isinstance(value, str) and not _BEGINS_WITH_A_YEAR.match(value)
    ):
        raise ValueError("Write it as 2026-11-25T08:00:00Z (RFC 3339).")
    return value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("In UTC it lies outside the years 1 to 9999.") from error


UtcDatetime = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]
"""A moment with a time zone, kept and written in UTC (RFC 3339 with `Z`)."""


class Answer(BaseModel):
    """What we send. Readers ignore fields they do not know, so that fields may be added."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        from_attributes=True,
        frozen=True,
    )


class Request(BaseModel):
    """What clients send. An unknown field is refused: it is a typo that would be lost."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
        # Who pastes a secret into the wrong field must not find it in a log.
        hide_input_in_errors=True,
    )
