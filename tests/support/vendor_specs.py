"""API descriptions of vendors, which are theirs and therefore not part of this repository."""

import os
from pathlib import Path

import pytest

VARIABLE = "STELLA_VENDOR_SPECS"
_BESIDE = Path(__file__).parents[3] / "shared" / "specs"


def vendor_spec(name: str) -> Path:
    """
    The file of that name, from the folder that STELLA_VENDOR_SPECS names, else from
    shared/specs beside the checkout. Skips the test, loudly, where there is neither.
    """
    named = os.environ.get(VARIABLE)
    path = Path(named or _BESIDE) / name
    if named and not path.is_file():
        raise FileNotFoundError(f"{VARIABLE} names a folder without {name}")
    if not path.is_file():
        pytest.skip(f"No {name}: name the folder that has it in {VARIABLE}")
    return path
