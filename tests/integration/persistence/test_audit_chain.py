"""The audit log is a chain: what is altered, left out or cut off is found."""

import asyncio
from contextlib import suppress

import psycopg
import pytest
from tests.support.catalog import TENANT

from stella_contracts.audit import AuditVerification
from stella_runtime.persistence import Database, audit_chain, open_engine

OTHER = "globex"


async def write(database: Database, entries: int, tenant: str = TENANT) -> None:
    for number in range(entries):
        async with database.transaction(tenant) as transaction:
            transaction.audit_logs.add(
                "integration.updated",
                actor="alice",
                request_id=f"r-{number}",
                details={"changed": ["config.endpoint"], "ß": 1.5},
            )


async def verify(
    database: Database, tenant: str = TENANT, *, at_once: int = audit_chain.ENTRIES_AT_ONCE
) -> AuditVerification:
    async with database.transaction(tenant) as transaction:
        return await transaction.audit_chain.verify(at_once=at_once)


def tamper(database_url: str, statement: str) -> None:
    """As somebody who owns the tables can."""
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table audit_logs disable trigger all")
        connection.execute(statement)
        connection.execute("alter table audit_logs enable trigger all")


async def test_what_nobody_touched_is_intact(database: Database) -> None:
    await write(database, 5)
    await write(database, 2, OTHER)

    found, others = await verify(database), await verify(database, OTHER)

    assert (found.intact, found.entries, found.sequence) == (True, 5, 5)
    assert (others.intact, others.entries, others.sequence) == (True, 2, 2)
    assert found.hash != others.hash


async def test_an_empty_log_is_intact(database: Database) -> None:
    assert await verify(database) == AuditVerification(intact=True, entries=0, sequence=0, hash="")


@pytest.mark.parametrize(
    ("statement", "entries", "sequence", "reason"),
    [
        pytest.param(
            "update audit_logs set actor = 'mallory' where sequence = 3", 2, 3, "altered",
            id="an actor",
        ),
        pytest.param(
            "update audit_logs set details = details || '{\"x\": 1}' where sequence = 1",
            0, 1, "altered",
            id="details of the first",
        ),
        pytest.param(
            "update audit_logs set timestamp = timestamp - interval '1 microsecond'"
            " where sequence = 5",
            4, 5, "altered",
            id="a time",
        ),
        pytest.param(
            "delete from audit_logs where sequence = 2", 1, 2, "missing", id="one left out"
        ),
        pytest.param(
            "delete from audit_logs where sequence >= 4", 3, 4, "missing", id="the end cut off"
        ),
        pytest.param("delete from audit_logs", 0, 1, "missing", id="all of it"),
        pytest.param(
            "with a as (select * from audit_logs where sequence = 5)"
            " update audit_logs l set actor = a.actor, hash = a.hash from a"
            " where l.sequence = 4",
            3, 4, "altered",
            id="a hash of another entry",
        ),
    ],
)  # fmt: skip
async def test_tampering_is_found_where_it_begins(
    database: Database,
    database_url: str,
    statement: str,
    entries: int,
    sequence: int,
    reason: str,
) -> None:
    await write(database, 5)
    await write(database, 1, OTHER)

    tamper(database_url, f"{statement.removesuffix(';')}")

    found = await verify(database)
    assert (found.intact, found.entries) == (False, entries)
    assert found.first_broken is not None
    assert (found.first_broken.sequence, found.first_broken.reason) == (sequence, reason)


async def test_a_chain_of_many_pages_is_read_to_its_end(
    database: Database, database_url: str
) -> None:
    await write(database, 8)
    whole = await verify(database, at_once=3)
    tamper(database_url, "update audit_logs set outcome = 'failure' where sequence = 7")

    found = await verify(database, at_once=3)

    assert (whole.intact, whole.entries) == (True, 8)
    assert found.first_broken is not None
    assert (found.entries, found.first_broken.sequence) == (6, 7)


async def test_two_hundred_writers_at_once_make_one_chain(database_url: str) -> None:
    database = Database(open_engine(database_url, pool_size=20, application="tests"))

    async with asyncio.timeout(60):
        await asyncio.gather(*(write(database, 3) for _ in range(200)))
        found = await verify(database)
    await database.close()

    assert (found.intact, found.entries) == (True, 600)


async def test_what_is_rolled_back_leaves_no_gap(database: Database) -> None:
    await write(database, 1)
    with suppress(RuntimeError):
        async with database.transaction(TENANT) as transaction:
            transaction.audit_logs.add("integration.created", actor="alice", request_id="r")
            raise RuntimeError
    await write(database, 1)

    found = await verify(database)

    assert (found.intact, found.entries) == (True, 2)
