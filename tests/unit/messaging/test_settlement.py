"""What becomes of a delivery, by how its handler ended."""

import asyncio
import json
import re

import pytest
from pydantic import BaseModel, ValidationError

from stella_contracts.errors import BusUnavailable, NameTaken, SecretUnavailable
from stella_runtime.messaging.settlement import Fate, describe, settle


@pytest.mark.parametrize(
    ("attempt", "error", "fate"),
    [
        pytest.param(1, None, Fate.DONE, id="returned"),
        pytest.param(1, SecretUnavailable("vault away"), Fate.RETRY, id="unavailable at first"),
        pytest.param(5, BusUnavailable("broker away"), Fate.RETRY, id="unavailable so far"),
        pytest.param(6, SecretUnavailable("vault away"), Fate.DEAD, id="unavailable for good"),
        pytest.param(9, SecretUnavailable("vault away"), Fate.DEAD, id="unavailable beyond"),
        pytest.param(1, NameTaken("registry"), Fate.DEAD, id="an error of ours"),
        pytest.param(1, KeyError("checks"), Fate.DEAD, id="a mistake of ours"),
        pytest.param(1, TimeoutError(), Fate.DEAD, id="a foreign timeout is not Unavailable"),
    ],
)
def test_the_kind_of_error_decides(attempt: int, error: Exception | None, fate: Fate) -> None:
    assert settle(attempt, error).fate is fate


def test_a_cancelled_handler_hands_back_whatever_the_attempt() -> None:
    assert settle(5, None, cancelled=True).fate is Fate.HAND_BACK


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


class Body(BaseModel):
    token: int
    name: str


def invalid(body: str) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate_json(body)
    return caught.value


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(
            NameTaken("registry"),
            "NameTaken: An integration named 'registry' already exists.",
            id="ours",
        ),
        pytest.param(
            raised(ValueError("hunter2")), r"ValueError: in raised, line \d+", id="foreign"
        ),
        pytest.param(ValueError("hunter2"), "ValueError: no place known", id="never raised"),
        pytest.param(
            invalid('{"token": "hunter2"}'),
            "ValidationError: token int_parsing; name missing",
            id="validation",
        ),
        pytest.param(
            json.JSONDecodeError("Expecting value", "hunter2", 0),
            r"JSONDecodeError: Expecting value: line 1 column 1 \(char 0\)",
            id="no JSON",
        ),
        pytest.param(asyncio.InvalidStateError(), "InvalidStateError: no place known", id="empty"),
    ],
)
def test_a_reason_says_what_happened_without_the_input(error: Exception, text: str) -> None:
    assert re.fullmatch(text, describe(error))
    assert "hunter2" not in describe(error)


def test_a_reason_is_never_long() -> None:
    assert len(settle(5, SecretUnavailable("x" * 10_000)).reason) <= 500
