"""The least that a server must do to read an integration: the reference of `reads`."""

import os
from typing import Any
from uuid import UUID

import asyncpg
import orjson

COLUMNS = """
    id, type, name, description, config_json, auth_ref_uri, tags, enabled, status,
    check_interval_seconds, check_timeout_seconds, created_at, updated_at, version
"""
BY_ID = f"select {COLUMNS} from integrations where id = $1 and tenant_id = 'reads'"
PAGE = f"select {COLUMNS} from integrations where tenant_id = 'reads' order by id limit 50"

_pool: asyncpg.Pool | None = None


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application: `/` is the page, `/<id>` one integration."""
    global _pool
    if scope["type"] != "http":
        return
    if _pool is None:
        _pool = await asyncpg.create_pool(os.environ["FLOOR_DATABASE_URL"], min_size=4, max_size=10)
    identifier = scope["path"].strip("/")
    async with _pool.acquire() as connection:
        if identifier:
            rows = await connection.fetch(BY_ID, UUID(identifier))
        else:
            rows = await connection.fetch(PAGE)
    body = orjson.dumps([dict(row) for row in rows], default=str)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json")],
        }
    )
    await send({"type": "http.response.body", "body": body})
