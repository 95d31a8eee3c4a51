"""Reads what a provider answers into the shape that its API promises."""

from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed

_Body = TypeVar("_Body", bound=BaseModel)


def answer_of(response: httpx.Response, shape: type[_Body], provider: str) -> _Body:
    """
    The body of a success. `provider` is the name that people know it by.

    Raises CheckFailed for anything else: a login page in front of a tool answers 200 as well.
    """
    try:
        return shape.model_validate_json(response.content)
    except ValidationError:
        # Not `from error`, which quotes the answer.
        raise CheckFailed(
            ErrorCode.BAD_RESPONSE, f"The answer is not one of {provider}'s API"
        ) from None
