"""The leases of the checks that a worker runs, kept and given back: each call a transaction."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from stella_runtime.persistence import Database
from stella_runtime.persistence.scheduling import Target


class Leases:
    """What a worker still does to a lease once it has taken the check."""

    def __init__(self, database: Database, *, margin: timedelta) -> None:
        self._database = database
        self.margin = margin

    async def renew(self, targets: Sequence[Target]) -> set[UUID]:
        """Let them hold as if claimed now, and say which still did. Raises Unavailable."""
        async with self._database.system_transaction() as transaction:
            return await transaction.leases.renew(targets, margin=self.margin)

    async def release(self, targets: Sequence[Target]) -> None:
        """What is not finished is due at once. Raises Unavailable."""
        async with self._database.system_transaction() as transaction:
            await transaction.leases.release(targets)
