"""
Integrations as JSON, for the reads that other modules make all day.

Each is one statement, which enters the tenant, reads and leaves again: functions of revision
0011. They are called by the driver itself, on connections of their own; a session would cost
several times what the database needs.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from sqlalchemy.engine import URL

from stella_contracts.errors import IntegrationNotFound
from stella_runtime.persistence.connect import POOL_SECONDS, connection_settings
from stella_runtime.persistence.driver_errors import SchemaMissing, driver_errors

CONNECTIONS = 4
"""Beside those of the pool. One answers thousands of reads a second."""

_GET = """
    select type, version, status, connection, auth_ref_uri, document
    from get_integration_document($1, $2)
"""
_LIST = """
    select id, auth_ref_uri, document from list_integration_documents($1, $2, $3, $4, $5)
"""
_BEFORE_ALL = UUID(int=0)


class Document(NamedTuple):
    """One integration. `text` is its JSON without `authRefUri`."""

    type: str
    version: int
    status: str
    connection: str | None
    auth_ref_uri: str | None
    text: str


class Listed(NamedTuple):
    """One integration of a page."""

    id: UUID
    auth_ref_uri: str | None
    text: str


class Documents:
    """Reads of one tenant's catalog, each on its own: there is no transaction around two."""

    def __init__(self, url: URL) -> None:
        self._address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def get(self, tenant_id: str, integration_id: UUID) -> Document:
        """Raises IntegrationNotFound, or DatabaseUnavailable."""
        rows = await self._fetch(_GET, tenant_id, integration_id)
        if not rows:
            raise IntegrationNotFound(integration_id)
        return Document(*rows[0])

    async def list_page(
        self,
        tenant_id: str,
        *,
        provider_type: str | None,
        only_enabled: bool,
        after: UUID | None,
        limit: int,
    ) -> Sequence[Listed]:
        """At most `limit` that come after an id, in the order of ids. Raises as `get`."""
        rows = await self._fetch(
            _LIST, tenant_id, provider_type, only_enabled, after or _BEFORE_ALL, limit
        )
        return [Listed(*row) for row in rows]

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    async def _fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        with driver_errors():
            pool = self._pool or await self._open()
            async with pool.acquire(timeout=POOL_SECONDS) as connection:
                try:
                    return await connection.fetch(query, *values)
                except asyncpg.UndefinedFunctionError as error:
                    raise SchemaMissing from error

    async def _open(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._address,
                    min_size=0,
                    max_size=CONNECTIONS,
                    reset=_nothing_is_left,
                    **connection_settings("stella-reads"),
                )
            return self._pool


async def _nothing_is_left(_: object) -> None:
    """What a statement sets for its transaction ends with it."""
