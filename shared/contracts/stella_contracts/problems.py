"""From what pydantic found wrong to problems with a place and a sentence."""

from collections.abc import Sequence

from pydantic import ValidationError

from stella_contracts.errors import Problem

MAX_PROBLEMS = 20


def problems_of(error: ValidationError) -> Sequence[Problem]:
    """The first of them, in our words and the validator's. The input is never repeated."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return [
        Problem(pointer_to(*each["loc"]), each["msg"].removeprefix("Value error, "))
        for each in found[:MAX_PROBLEMS]
    ]


def pointer_to(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901); with no parts, the whole document."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)
