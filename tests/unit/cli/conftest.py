"""A hub without answers, and a shell that is logged in to it by its environment."""

from pathlib import Path

import pytest
from tests.unit.cli.hub import URL, Hub, Shell


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def shell(hub: Hub, tmp_path: Path) -> Shell:
    return Shell(hub, tmp_path, {"STELLA_URL": URL, "STELLA_TOKEN": "token-of-the-environment"})
