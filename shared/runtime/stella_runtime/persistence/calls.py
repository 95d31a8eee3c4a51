"""
A call from a process that cannot publish to those that can: LISTEN and NOTIFY.

A mere hint. Who misses one finds the message at its next poll. It is sent in a transaction
of its own, after the commit and only where there is need: as part of every commit, it would
make all of them wait for one lock, and wake every relay for each.
"""

import asyncio
from collections.abc import Callable
from typing import NoReturn

import asyncpg
import structlog
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from stella_runtime.messaging.backoff import Backoff

log = structlog.get_logger()

CHANNEL = "stella_outbox"
APPLICATION = "stella-listen"
"""What pg_stat_activity shows."""
CONNECT_SECONDS = 5.0
LOOK_SECONDS = 20.0
"""How often a silent connection is asked whether it is still there, and how long it may take."""

_CALL = text("select pg_notify(:channel, '')")


async def call(engine: AsyncEngine) -> None:
    """Let every process that listens look into the outbox."""
    async with engine.begin() as connection:
        await connection.execute(_CALL, {"channel": CHANNEL})


async def listen(url: URL, called: Callable[[], None]) -> NoReturn:
    """
    Say whenever somebody calls, until cancelled. On a connection of its own, made again when lost.

    Also says so each time it begins to listen: a call may have come before.
    """
    backoff = Backoff(first=0.5, limit=30.0)
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    while True:
        try:
            await _listen_once(address, called, backoff)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if not backoff.tries:
                log.warning("outbox_calls_unheard", error=type(error).__name__)
        await asyncio.sleep(backoff.next())


async def _listen_once(address: str, called: Callable[[], None], backoff: Backoff) -> None:
    lost = asyncio.Event()
    connection = await asyncpg.connect(
        address,
        timeout=CONNECT_SECONDS,
        command_timeout=LOOK_SECONDS,
        server_settings={"application_name": APPLICATION},
    )
    try:
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(CHANNEL, lambda *_: called())
        backoff.succeeded()
        called()
        while not lost.is_set():
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await lost.wait()
            except TimeoutError:
                # Raises when nobody is there any more.
                await connection.execute("select 1")
    finally:
        connection.terminate()
