"""What an operator did, in the audit log of the installation."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from stella_contracts.messages import NO_TENANT
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database, open_engine


class Trail:
    """One run of a command, under one request id. Opened by `open_trail`."""

    def __init__(self, database: Database | None, *, actor: str) -> None:
        self._database = database
        self._actor = actor
        self._request_id = str(new_id())

    async def leave(self, action: str, things: Sequence[Mapping[str, Any]]) -> None:
        """
        Commit an entry for each. Before it is done: what is in the log may not have happened
        if the command was killed, but nothing happens that is not in the log.
        """
        if self._database is None:
            return
        async with self._database.transaction(NO_TENANT) as transaction:
            for thing in things:
                transaction.audit_logs.add(
                    action, actor=self._actor, request_id=self._request_id, details=dict(thing)
                )


@asynccontextmanager
async def open_trail(database_url: str | None, *, actor: str) -> AsyncIterator[Trail]:
    """Raises Unavailable when there is an address and no database of ours behind it."""
    if database_url is None:
        yield Trail(None, actor=actor)
        return
    database = Database(open_engine(database_url, pool_size=1, application="stella-operator"))
    try:
        await database.check_schema()
        yield Trail(database, actor=actor)
    finally:
        await database.close()
