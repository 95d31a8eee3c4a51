"""The second lock: what a tenant's transaction cannot see or do, whatever it says in SQL."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from tests.support.catalog import TENANT, register

from stella_runtime.persistence import Database, open_engine
from stella_runtime.persistence.base import TenantSession
from stella_runtime.persistence.integrations import Filters, Sort

OTHER = "globex"

TENANT_TABLES = """
    select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
      and not c.relispartition and a.attname = 'tenant_id' and not a.attisdropped
"""


@asynccontextmanager
async def raw_session(database_url: str, tenant: str) -> AsyncIterator[AsyncSession]:
    """A tenant's session, for statements that no module of ours would write."""
    engine = open_engine(database_url, pool_size=1, application="tests")
    sessions = async_sessionmaker(engine, sync_session_class=TenantSession)
    async with sessions(info={"tenant_id": tenant}) as session:
        yield session
    await engine.dispose()


@contextmanager
def acting_as(database_url: str, role: str, tenant: str | None) -> Iterator[psycopg.Connection]:
    """A transaction of a service's role."""
    with psycopg.connect(database_url) as connection:
        connection.execute(f"set local role {role}")
        if tenant is not None:
            connection.execute("select set_config('app.tenant_id', %s, true)", [tenant])
        yield connection
        connection.rollback()


def rows(connection: psycopg.Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def test_every_table_of_tenants_is_locked(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        tables = {name for (name,) in rows(connection, TENANT_TABLES)}
        forced = rows(
            connection, "select relname from pg_class where relrowsecurity and relforcerowsecurity"
        )
        policies = rows(
            connection,
            "select tablename, roles::text[], qual, with_check from pg_policies"
            " where schemaname = 'public'",
        )

    assert len(tables) > 8
    assert tables - {name for (name,) in forced} == set()
    by_tenant = {
        name
        for name, granted, seen, written in policies
        if granted == ["stella_api"] and "app_tenant()" in seen and "app_tenant()" in written
    }
    assert tables - by_tenant == set()
    assert sorted(
        name for name, granted, *_ in policies if not set(granted) & {"stella_api", "stella_system"}
    ) == ["audit_anchors", "audit_heads", "audit_logs"]


def test_roles_of_the_services_own_nothing_and_obey_policies(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        roles = rows(
            connection,
            "select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcanlogin from pg_roles"
            " where rolname like 'stella\\_%' order by 1",
        )
        owned = rows(
            connection,
            "select count(*) from pg_class where pg_get_userbyid(relowner) like 'stella\\_%'",
        )
        partitions = rows(
            connection,
            "select distinct grantee from information_schema.role_table_grants g join pg_class c"
            " on c.relname = g.table_name where c.relispartition"
            " and grantee not in (current_user, 'stella_system')",
        )

    assert roles == [
        ("stella_api", False, False, False, False),
        ("stella_system", False, False, False, False),
    ]
    assert owned == [(0,)]
    # Policies are the parent's: a tenant that could name a partition would get around them.
    assert partitions == []


async def test_a_query_that_forgets_the_tenant_sees_its_own_rows_alone(
    database: Database, database_url: str
) -> None:
    mine = await register(database, tenant=TENANT)
    await register(database, tenant=OTHER)

    async with raw_session(database_url, TENANT) as session:
        found = (await session.execute(text("select id from integrations"))).scalars().all()
        scheduled = await session.scalar(text("select count(*) from schedule_state"))

    assert [str(each) for each in found] == [str(mine.id)]
    assert scheduled == 1


async def test_without_row_security_the_filter_still_holds(
    database: Database, database_url: str
) -> None:
    await register(database, tenant=OTHER)
    with psycopg.connect(database_url) as connection:
        connection.execute("alter table integrations disable row level security")

    async with database.transaction(TENANT) as transaction:
        listed = await transaction.integrations.list_page(
            Filters(), sort=Sort.CREATED, limit=10, after=None
        )

    assert listed == []


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("update integrations set name = 'stolen'", id="update"),
        pytest.param("update integrations set tenant_id = 'acme'", id="move"),
        pytest.param("update schedule_state set next_check_at = null", id="unschedule"),
        pytest.param("update incidents set resolved_at = now()", id="resolve"),
    ],
)
async def test_another_tenants_rows_cannot_be_changed(
    database: Database, database_url: str, statement: str
) -> None:
    await register(database, tenant=OTHER)

    with acting_as(database_url, "stella_api", TENANT) as connection:
        changed = connection.execute(statement).rowcount

    assert changed == 0


async def test_a_row_cannot_be_written_for_another_tenant(
    database: Database, database_url: str
) -> None:
    await register(database, tenant=TENANT)

    with (
        acting_as(database_url, "stella_api", TENANT) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
    ):
        connection.execute("update integrations set tenant_id = 'globex'")


@pytest.mark.parametrize("tenant", [None, ""])
async def test_without_a_tenant_nothing_is_answered(
    database: Database, database_url: str, tenant: str | None
) -> None:
    await register(database)

    with (
        acting_as(database_url, "stella_api", tenant) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="names no tenant"),
    ):
        rows(connection, "select * from integrations")


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        pytest.param("stella_system", "update integrations set name = 'x'", id="config"),
        pytest.param("stella_system", "delete from integrations", id="delete"),
        pytest.param("stella_system", "truncate integrations", id="truncate"),
        pytest.param("stella_system", "update audit_logs set actor = 'x'", id="audit"),
        pytest.param("stella_system", "select * from audit_logs", id="read the audit log"),
        pytest.param("stella_system", "update audit_heads set sequence = 1", id="audit head"),
        pytest.param("stella_api", "delete from audit_logs", id="audit as the api"),
        pytest.param("stella_api", "update audit_heads set sequence = 1", id="head as the api"),
        pytest.param("stella_api", "delete from health_checks", id="history as the api"),
        pytest.param("stella_api", "select * from health_checks_default", id="a partition"),
        pytest.param("stella_api", "update plugin_metadata set trust = 'built_in'", id="trust"),
        pytest.param("stella_system", "select drop_history_partition('integrations')", id="drop"),
        pytest.param("stella_system", "select lock_history('integrations')", id="lock"),
        pytest.param("stella_api", "select drop_history_partition('x')", id="drop as the api"),
        pytest.param("stella_system", "create table t (id int)", id="create"),
    ],
)
def test_a_role_can_do_no_more_than_its_work(database_url: str, role: str, statement: str) -> None:
    with (
        acting_as(database_url, role, TENANT) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


async def test_a_pooled_connection_carries_no_tenant_over(database_url: str) -> None:
    engine = open_engine(database_url, pool_size=1, application="tests")
    database = Database(engine)
    await register(database, tenant=OTHER)
    with suppress(RuntimeError):
        async with database.transaction(OTHER):
            raise RuntimeError

    async with engine.connect() as connection:
        left = (
            await connection.execute(
                text("select current_setting('app.tenant_id', true), current_user = session_user")
            )
        ).one()
    async with database.transaction(TENANT) as transaction:
        listed = await transaction.integrations.list_page(
            Filters(), sort=Sort.CREATED, limit=10, after=None
        )
    await engine.dispose()

    assert tuple(left) == ("", True)
    assert listed == []


async def test_a_user_of_the_services_needs_no_more_than_their_roles(
    database: Database, database_url: str
) -> None:
    """As in production: a login that may act as the roles, and is nobody else."""
    integration = await register(database)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("drop role if exists service_login")
        connection.execute("create role service_login login noinherit")
        connection.execute("grant stella_api, stella_system to service_login")
        address = psycopg.conninfo.conninfo_to_dict(database_url)
    url = database_url.replace(f"{address['user']}@", "service_login@", 1).replace(
        f"{address['user']}:", "service_login:", 1
    )

    service = Database(open_engine(url, pool_size=1, application="tests"))
    async with service.transaction(TENANT) as transaction:
        found = await transaction.integrations.get(integration.id)
    async with service.system_transaction() as system:
        claimed = await system.leases.claim(10)
    await service.close()
    direct = await asyncpg.connect(url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await direct.fetch("select * from integrations")
    await direct.close()

    assert (found.id, len(claimed.checks)) == (integration.id, 1)
