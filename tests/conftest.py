"""Collects the fixtures of support; marks tests by folder, with what the folder may do."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from pytest_socket import disable_socket, enable_socket

from tests.support.documented import INVENTED

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.disk",
    "tests.support.rabbitmq",
    "tests.support.catalog",
    "tests.support.history",
    "tests.support.processes",
    "tests.support.api",
    "tests.support.traces",
    "tests.support.openbao",
]

_SECONDS_OF_FOLDER = {"unit": 60, "contract": 60, "integration": 60, "e2e": 180, "house": 60}
_WITHOUT_SOCKETS = {"unit", "house"}
_TESTS = Path(__file__).parent


def _folder(path: Path) -> str:
    """The first folder below tests/."""
    return path.relative_to(_TESTS).parts[0]


def pytest_configure(config: pytest.Config) -> None:
    # How long an example takes says something of the machine, and nothing of the code.
    hypothesis.settings.register_profile("untimed", deadline=None)
    config.addinivalue_line(
        "markers", f"{INVENTED}: puts messages into the outbox that nobody would send"
    )
    hypothesis.settings.register_profile("nightly", deadline=None)
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "untimed"))
    for folder in _SECONDS_OF_FOLDER:
        config.addinivalue_line("markers", f"{folder}: tests in tests/{folder}/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = _folder(item.path)
        if folder not in _SECONDS_OF_FOLDER:
            raise pytest.UsageError(
                f"{item.path}: tests live in one of {', '.join(_SECONDS_OF_FOLDER)}."
            )
        item.add_marker(folder)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_SECONDS_OF_FOLDER[folder]))


@pytest.fixture(autouse=True)
def _no_sockets_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    if _folder(request.path) not in _WITHOUT_SOCKETS:
        yield
        return
    # An event loop wakes itself over a pair of unix sockets.
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()
