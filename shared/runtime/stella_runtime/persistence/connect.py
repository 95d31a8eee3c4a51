"""The engine: one pool a process, with a limit on everything that waits."""

from typing import Any

import orjson
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

POOL_SECONDS = 5.0
"""How long one waits for a connection of a pool."""


def driver_url(database_url: str) -> str:
    """The address that SQLAlchemy needs for `postgresql://…`, which people write."""
    url = make_url(database_url)
    return url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def open_engine(
    database_url: str, *, pool_size: int, application: str, statement_timeout_seconds: float = 10
) -> AsyncEngine:
    """
    Make the pool. Nothing is connected before the first query.

    `pool_size` is a hard limit; who waits for a connection longer than 5 s gets
    DatabaseUnavailable. `application` is what pg_stat_activity shows.
    """
    return create_async_engine(
        driver_url(database_url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        # Finds connections that a restarted server has closed, before a request is lost on one.
        pool_pre_ping=True,
        # The text of an error ends in a log; a value could be somebody's secret.
        hide_parameters=True,
        json_serializer=_to_json,
        json_deserializer=orjson.loads,
        connect_args=connection_settings(application, statement_timeout_seconds),
    )


def connection_settings(application: str, statement_timeout_seconds: float = 10) -> dict[str, Any]:
    """What every connection of the driver is made with."""
    return {
        "timeout": 5,
        "command_timeout": statement_timeout_seconds + 5,
        "server_settings": {
            "application_name": application,
            "statement_timeout": str(int(statement_timeout_seconds * 1000)),
            "lock_timeout": "5000",
            "idle_in_transaction_session_timeout": "30000",
        },
    }


def _to_json(value: Any) -> str:
    return orjson.dumps(value).decode()
