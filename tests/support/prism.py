"""Prism, which serves the API that a description describes, and judges the requests by it."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.programs import announced
from tests.support.vendor_specs import vendor_spec

VARIABLE = "STELLA_PRISM"
START_SECONDS = 30
_LISTENING = "Prism is listening on "


@asynccontextmanager
async def prism(file: str) -> AsyncIterator[str]:
    """
    The URL of a server of that vendor spec. Skips the test, loudly, where there is no Prism:
    `npm install @stoplight/prism-cli`, and name its program in STELLA_PRISM.
    """
    program = os.environ.get(VARIABLE) or shutil.which("prism")
    if program is None:
        pytest.skip(f"No Prism (npm package @stoplight/prism-cli): name its program in {VARIABLE}")
    arguments = ("mock", "--port", "0", str(vendor_spec(file)))
    async with announced(program, *arguments, after=_LISTENING, seconds=START_SECONDS) as url:
        yield url
