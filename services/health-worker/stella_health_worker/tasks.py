"""Waiting for tasks, and ending them."""

import asyncio
from collections.abc import Sequence
from typing import Any


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait until they have ended: a plugin may take a moment."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def ends_within(task: asyncio.Task[Any], seconds: float) -> bool:
    """As `asyncio.wait` for one task, which would take a twentieth of the time of a check."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def wake(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    timer = loop.call_later(seconds, wake)
    task.add_done_callback(wake)
    try:
        await over
    finally:
        timer.cancel()
        task.remove_done_callback(wake)
    return task.done()
