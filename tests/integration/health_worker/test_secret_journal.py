"""The audit log tells which secrets a worker has read."""

from datetime import UTC, datetime

from tests.support.catalog import TENANT

from stella_contracts.audit import AuditEntry
from stella_contracts.auth_ref import AuthRef
from stella_health_worker.secret_journal import READS_OF_ENTRY, WAITING_LIMIT, SecretJournal
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database
from stella_runtime.persistence.audit_logs import AuditFilters
from stella_runtime.secrets import Reader, SecretRead

REFERENCE = AuthRef.parse("authref://vault/ci/harbor#robot")


def a_read(tenant: str = TENANT, *, found: bool = True) -> SecretRead:
    return SecretRead(Reader(tenant, new_id()), REFERENCE, datetime.now(UTC), found)


async def entries(database: Database, tenant: str = TENANT) -> list[AuditEntry]:
    async with database.transaction(tenant) as transaction:
        return list(await transaction.audit_logs.list_page(AuditFilters(), limit=100, before=None))


async def test_reads_of_a_tenant_are_few_entries(database: Database) -> None:
    journal = SecretJournal(database, worker="one")
    reads = [a_read() for _ in range(READS_OF_ENTRY + 1)]
    for read in [*reads, a_read("globex"), a_read(found=False)]:
        journal.note(read)

    await journal.write()
    await journal.write()

    failed, *others = await entries(database)
    assert [len(each.details["reads"]) for each in others] == [1, READS_OF_ENTRY]
    assert (failed.action, failed.outcome, failed.actor) == (
        *("secret.resolved", "failed", "worker:one"),
    )
    told = [read["integrationId"] for entry in others[::-1] for read in entry.details["reads"]]
    assert told == [str(read.reader.integration_id) for read in reads]
    assert others[1].details["reads"][0]["authRefUri"] == str(REFERENCE)
    assert len(await entries(database, "globex")) == 1


async def test_what_is_left_is_written_at_the_end(database: Database) -> None:
    journal = SecretJournal(database, worker="one")
    async with journal.running():
        journal.note(a_read())

    assert len(await entries(database)) == 1


async def test_beyond_its_bound_reads_are_counted(database: Database) -> None:
    journal = SecretJournal(database, worker="one")
    for _ in range(WAITING_LIMIT + 3):
        journal.note(a_read("globex"))
    journal.note(a_read())

    await journal.write()
    journal.note(a_read())
    await journal.write()

    last, first = await entries(database)
    assert (first.details, len(last.details["reads"])) == ({"moreReads": 1}, 1)
