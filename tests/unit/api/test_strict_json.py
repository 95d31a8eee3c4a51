"""JSON that is let through can be kept and read back; anything else is one kind of error."""

import json
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_api.strict_json import LARGEST_INTEGER, MalformedBody, check_json

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_can_be_kept_is_let_through(value: Any, ascii_only: bool) -> None:
    check_json(json.dumps(value, ensure_ascii=ascii_only).encode())


@given(st.binary(max_size=200) | st.text('[]{}":,0123456789eE+-.\\u dfDFntrue', max_size=60))
def test_anything_else_is_malformed_and_nothing_worse(body: bytes | str) -> None:
    with suppress(MalformedBody):
        check_json(body if isinstance(body, bytes) else body.encode())


@given(VALUES, st.text(max_size=5))
def test_what_is_let_through_can_be_written_again(value: Any, extra: str) -> None:
    body = json.dumps({"value": value, "extra": extra}).encode("utf-8")

    try:
        check_json(body)
    except MalformedBody:
        assert "\x00" in extra or any("\ud800" <= c <= "\udfff" for c in extra)
    else:
        assert b"\x00" not in orjson.dumps(json.loads(body))


@pytest.mark.parametrize(
    ("body", "place"),
    [
        pytest.param(r'{"a": [1, {"b~/": "\u0000"}]}', "/a/1/b~0~1", id="NUL"),
        pytest.param(r'["\udc00"]', "/0", id="half a surrogate pair"),
    ],
)
def test_the_place_is_a_json_pointer(body: str, place: str) -> None:
    with pytest.raises(MalformedBody) as caught:
        check_json(body.encode())

    assert [each.pointer for each in caught.value.problems] == [place]


@pytest.mark.parametrize("depth", [33, 1000, 100_000])
def test_depth_is_bounded(depth: int) -> None:
    with pytest.raises(MalformedBody):
        check_json(b"[" * depth + b"]" * depth)


def test_32_levels_are_let_through() -> None:
    check_json(b"[" * 32 + b"]" * 32)
