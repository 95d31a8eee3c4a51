"""Programs that say in their log where they listen."""

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def announced(*command: str, after: str, seconds: float) -> AsyncIterator[str]:
    """Run a program until the block ends. Yields what its log says after the text, in its line."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    assert process.stdout is not None
    draining = None
    try:
        async with asyncio.timeout(seconds):
            said = await _said(process.stdout, after, command[0])
        # A pipe that is full would stop it.
        draining = asyncio.ensure_future(process.stdout.read())
        yield said
    finally:
        process.kill()
        await process.wait()
        if draining is not None:
            await draining


async def _said(log: asyncio.StreamReader, after: str, program: str) -> str:
    seen = ""
    while line := (await log.readline()).decode():
        seen += line
        if after in line:
            return line.partition(after)[2].strip()
    raise AssertionError(f"{program} ended: {seen[-2000:]}")
