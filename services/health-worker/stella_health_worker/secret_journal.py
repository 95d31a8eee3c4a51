"""Tells the audit log which secrets this worker has read from a vault, and for whom."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from stella_contracts.errors import Unavailable
from stella_health_worker.settings import HealthWorkerSettings
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database
from stella_runtime.secrets import SecretRead, SecretResolver, open_secrets

log = structlog.get_logger()

ACTION = "secret.resolved"
ROUND_SECONDS = 10.0
READS_OF_ENTRY = 50
WAITING_LIMIT = 10_000
"""Reads that may wait for the database. Beyond it they are counted, and the count is told."""


class SecretJournal:
    """Collects reads, and writes those of a tenant as few entries, every ROUND_SECONDS."""

    def __init__(self, database: Database, *, worker: str) -> None:
        self._database = database
        self._actor = f"worker:{worker}"
        self._waiting: list[SecretRead] = []
        self._uncounted: defaultdict[str, int] = defaultdict(int)

    def note(self, read: SecretRead) -> None:
        """Keep a read until the next round."""
        if len(self._waiting) < WAITING_LIMIT:
            self._waiting.append(read)
        else:
            self._uncounted[read.reader.tenant_id] += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write what is noted until the block ends, and what is left then."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.write()

    async def write(self) -> None:
        """One round. What cannot be written now waits for the next."""
        by_tenant: defaultdict[str, list[SecretRead]] = defaultdict(list)
        for read in self._waiting:
            by_tenant[read.reader.tenant_id].append(read)
        for tenant_id in by_tenant.keys() | self._uncounted.keys():
            reads = by_tenant[tenant_id]
            try:
                await self._write_tenant(tenant_id, reads)
            except Unavailable as error:
                log.warning("secret_reads_not_audited", reads=len(reads), reason=str(error))
                return

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            # What has begun is finished, or it would be told twice.
            await asyncio.shield(asyncio.create_task(self.write()))

    async def _write_tenant(self, tenant_id: str, reads: Sequence[SecretRead]) -> None:
        uncounted = self._uncounted.get(tenant_id, 0)
        async with self._database.transaction(tenant_id) as transaction:
            for found in (True, False):
                alike = [read for read in reads if read.found is found]
                for start in range(0, len(alike), READS_OF_ENTRY):
                    part = alike[start : start + READS_OF_ENTRY]
                    only = {read.reader.integration_id for read in part}
                    transaction.audit_logs.add(
                        ACTION,
                        actor=self._actor,
                        request_id=str(new_id()),
                        integration_id=only.pop() if len(only) == 1 else None,
                        outcome="success" if found else "failed",
                        details={"reads": [_told(read) for read in part]},
                    )
            if uncounted:
                transaction.audit_logs.add(
                    ACTION,
                    actor=self._actor,
                    request_id=str(new_id()),
                    details={"moreReads": uncounted},
                )
        told = set(map(id, reads))
        self._waiting = [read for read in self._waiting if id(read) not in told]
        self._uncounted.pop(tenant_id, None)


@asynccontextmanager
async def reading_secrets(
    settings: HealthWorkerSettings, database: Database
) -> AsyncIterator[SecretResolver]:
    """What a worker reads secrets with: within the policy, and told of in the audit log."""
    journal = SecretJournal(database, worker=settings.worker_name)
    async with journal.running(), open_secrets(settings, tell=journal.note) as secrets:
        yield secrets


def _told(read: SecretRead) -> dict[str, Any]:
    integration_id = read.reader.integration_id
    return {
        "authRefUri": str(read.reference),
        "at": read.at.isoformat(),
        **({"integrationId": str(integration_id)} if integration_id else {}),
    }
