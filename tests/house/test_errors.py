"""The error tree: drawn, coded and of a known kind."""

from collections import Counter

import pytest

from stella_contracts import errors
from stella_contracts.errors import StellaError
from tests.house.tree import modules

CLASSES = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, StellaError)
]
KINDS = [each for each in CLASSES if StellaError in each.__bases__]


def every_error() -> list[type[StellaError]]:
    """Those that are raised: below a kind, in whatever module of ours."""
    for _ in modules():  # defines them
        pass
    found = [error for kind in KINDS for error in kind.__subclasses__()]
    for error in found:
        found.extend(error.__subclasses__())
    return [error for error in found if error.__module__.startswith("stella_")]


def test_every_error_has_a_stable_code_of_its_own() -> None:
    codes = Counter(getattr(error, "code", None) for error in every_error())

    shared = {code: count for code, count in codes.items() if code is None or count > 1}

    assert not shared, f"Give each error class a `code` that no other has: {shared}"


def test_every_error_has_one_kind() -> None:
    every_error()
    homeless = [
        error.__name__
        for error in StellaError.__subclasses__()
        if error.__module__ != errors.__name__
    ]
    ambiguous = [
        error.__name__ for error in every_error() if sum(issubclass(error, k) for k in KINDS) != 1
    ]

    assert not homeless, f"Derive from a kind of stella_contracts.errors: {homeless}"
    assert not ambiguous, f"Derive from one kind only: {ambiguous}"


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_error_is_drawn_in_the_tree(error: type[Exception]) -> None:
    drawn = (errors.__doc__ or "").split()

    assert error.__name__ in drawn, f"Draw {error.__name__} in the docstring of errors.py."
