"""Cursors are good for one listing, one tenant and one day."""

from typing import Any

import pytest

from stella_api.cursors import Cursors
from stella_contracts.errors import MalformedCursor

BOUND: dict[str, Any] = {"tenant": "acme", "listing": "integrations", "filters": {"type": "harbor"}}


def test_a_place_is_read_back() -> None:
    cursors = Cursors("key")

    assert cursors.read(cursors.write(["a", "é"], **BOUND), **BOUND) == ["a", "é"]


def test_no_cursor_is_the_beginning() -> None:
    assert Cursors("key").read(None, **BOUND) is None


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"tenant": "globex"}, id="another tenant"),
        pytest.param({"listing": "audit"}, id="another listing"),
        pytest.param({"filters": {}}, id="no filter"),
        pytest.param({"filters": {"type": "gitlab"}}, id="another filter"),
        pytest.param({"filters": {"type": "harbor", "tag": "eu"}}, id="one filter more"),
    ],
)
def test_it_is_of_no_other_listing(other: dict[str, Any]) -> None:
    cursors = Cursors("key")
    cursor = cursors.write(["a"], **BOUND)

    with pytest.raises(MalformedCursor):
        cursors.read(cursor, **BOUND | other)


def test_another_key_signs_none_of_ours() -> None:
    cursor = Cursors("another key").write(["a"], **BOUND)

    with pytest.raises(MalformedCursor):
        Cursors("key").read(cursor, **BOUND)


def test_it_expires() -> None:
    cursor = Cursors("key").write(["a"], **BOUND)

    with pytest.raises(MalformedCursor):
        Cursors("key", good_for_seconds=-1).read(cursor, **BOUND)
