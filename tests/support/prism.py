"""Prism, which serves the API that a description describes, and judges the requests by it."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

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
    process = await asyncio.create_subprocess_exec(
        program,
        "mock",
        "--port",
        "0",
        str(vendor_spec(file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    draining = None
    try:
        async with asyncio.timeout(START_SECONDS):
            url = await _url(process.stdout)
        # A pipe that is full would stop it.
        draining = asyncio.ensure_future(process.stdout.read())
        yield url
    finally:
        process.kill()
        await process.wait()
        if draining is not None:
            await draining


async def _url(log: asyncio.StreamReader) -> str:
    seen = ""
    while line := (await log.readline()).decode():
        seen += line
        if _LISTENING in line:
            return line.partition(_LISTENING)[2].strip()
    raise AssertionError(f"Prism ended: {seen[-2000:]}")
