"""The end of audit entries: what is kept verifies, and nothing goes that was altered."""

from datetime import timedelta

import psycopg
import pytest
from tests.support.catalog import TENANT

from stella_contracts.audit import AuditVerification
from stella_health_worker.upkeep import expire_audit_logs
from stella_runtime.persistence import Database

KEPT = timedelta(days=30)
OTHER = "globex"


async def write(database: Database, entries: int, tenant: str = TENANT) -> None:
    for number in range(entries):
        async with database.transaction(tenant) as transaction:
            transaction.audit_logs.add("x", actor="alice", request_id=f"r-{number}")


async def verify(database: Database, tenant: str = TENANT) -> AuditVerification:
    async with database.transaction(tenant) as transaction:
        return await transaction.audit_chain.verify()


async def write_old(database: Database, database_url: str, entries: int) -> None:
    """Entries of forty days ago, as if their time had passed since."""
    with psycopg.connect(database_url) as connection:
        for number in range(entries):
            connection.execute(
                "insert into audit_logs (id, tenant_id, actor, action, timestamp, request_id,"
                " outcome) values (gen_random_uuid(), %s, 'alice', 'x',"
                " now() - interval '40 days', %s, 'success')",
                [TENANT, f"old-{number}"],
            )
    assert (await verify(database)).intact


def actions(database_url: str) -> list[tuple[int, str]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "select sequence, action from audit_logs where tenant_id = %s order by sequence",
            [TENANT],
        ).fetchall()


async def test_what_is_kept_of_a_chain_verifies(database: Database, database_url: str) -> None:
    await write_old(database, database_url, 5)
    await write(database, 2)
    await write(database, 3, OTHER)

    await expire_audit_logs(database, KEPT)
    await write(database, 1)

    found, others = await verify(database), await verify(database, OTHER)
    assert (found.intact, found.entries, found.expired, found.sequence) == (True, 4, 5, 9)
    assert (others.intact, others.entries, others.expired) == (True, 3, 0)
    assert actions(database_url) == [(6, "x"), (7, "x"), (8, "audit.expired"), (9, "x")]


async def test_a_log_may_end_as_a_whole_and_go_on(database: Database, database_url: str) -> None:
    await write_old(database, database_url, 3)

    await expire_audit_logs(database, KEPT)
    await expire_audit_logs(database, KEPT)

    found = await verify(database)
    assert (found.intact, found.expired, found.entries) == (True, 3, 1)


async def test_many_end_in_pieces(database: Database, database_url: str) -> None:
    await write_old(database, database_url, 5)

    async with database.system_transaction() as transaction:
        first = await transaction.audit_expiry.expire(KEPT, at_once=3)
    async with database.system_transaction() as transaction:
        second = await transaction.audit_expiry.expire(KEPT, at_once=3)

    assert [(each.entries, each.until) for each in [*first, *second]] == [(3, 3), (2, 5)]
    assert (await verify(database)).intact


async def test_what_was_altered_stays_and_is_still_found(
    database: Database, database_url: str
) -> None:
    await write_old(database, database_url, 4)
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table audit_logs disable trigger all")
        connection.execute("update audit_logs set actor = 'mallory' where sequence = 3")
        connection.execute("alter table audit_logs enable trigger all")

    await expire_audit_logs(database, KEPT)

    found = await verify(database)
    assert (found.intact, found.expired) == (False, 2)
    assert found.first_broken is not None
    assert (found.first_broken.sequence, found.first_broken.reason) == (3, "altered")


async def test_what_was_cut_off_behind_the_anchor_is_missed(
    database: Database, database_url: str
) -> None:
    await write_old(database, database_url, 2)
    await write(database, 2)
    await expire_audit_logs(database, KEPT)
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table audit_logs disable trigger all")
        connection.execute("delete from audit_logs where sequence = 3")
        connection.execute("alter table audit_logs enable trigger all")

    found = await verify(database)

    assert found.first_broken is not None
    assert (found.first_broken.sequence, found.first_broken.reason) == (3, "missing")


async def test_nothing_ends_before_thirty_days(database: Database, database_url: str) -> None:
    await write_old(database, database_url, 1)

    with pytest.raises(Exception, match="30 days"):
        await expire_audit_logs(database, timedelta(days=29))

    assert len(actions(database_url)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "delete from audit_logs",
        "update audit_logs set actor = 'mallory'",
        "truncate audit_logs",
    ],
)
async def test_nobody_else_changes_it_not_even_its_owner(
    database: Database, database_url: str, statement: str
) -> None:
    await write_old(database, database_url, 1)

    with (
        psycopg.connect(database_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
    ):
        connection.execute(statement)

    assert len(actions(database_url)) == 1
