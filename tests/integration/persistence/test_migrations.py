"""The schema: from empty, back again, and as the models have it, on every release we run on."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from tests.support.postgres import BOTH_RELEASES

from stella_migrations.commands import downgrade, upgrade
from stella_runtime.persistence import open_engine
from stella_runtime.persistence.base import Base

pytestmark = pytest.mark.parametrize("postgres_server", BOTH_RELEASES, indirect=True)

SOURCE_COLUMNS = {
    "integrations": {
        "id", "tenant_id", "type", "name", "config_json", "auth_ref_uri", "status",
        "created_at", "updated_at",
    },
    "plugin_metadata": {"plugin_id", "type", "version", "capabilities", "path"},
    "health_checks": {"integration_id", "checked_at", "status", "latency_ms", "error_message"},
    "audit_logs": {"actor", "action", "integration_id", "timestamp", "details"},
}  # fmt: skip


def migrate(url: str, *steps: str) -> None:
    # In a thread: a migration runs a loop of its own.
    with ThreadPoolExecutor(max_workers=1) as thread:
        for step in steps:
            change = upgrade if step == "head" else downgrade
            thread.submit(change, url, step).result()


def names(url: str, query: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute(query).fetchall()}


def test_every_revision_can_be_taken_back_and_applied_again(empty_database_url: str) -> None:
    migrate(empty_database_url, "head", "base", "head", "base")

    left = names(
        empty_database_url,
        "select tablename from pg_tables where schemaname = 'public'"
        " union select proname from pg_proc where pronamespace = 'public'::regnamespace",
    )
    assert left == {"alembic_version"}


def test_applying_what_is_applied_does_nothing(empty_database_url: str) -> None:
    migrate(empty_database_url, "head", "head")


@pytest.mark.parametrize("table", SOURCE_COLUMNS)
def test_tables_have_the_columns_of_the_source_document(database_url: str, table: str) -> None:
    columns = names(
        database_url,
        f"select column_name from information_schema.columns where table_name = '{table}'",
    )

    assert columns >= SOURCE_COLUMNS[table]


async def test_models_and_schema_are_the_same(database_url: str) -> None:
    engine = open_engine(database_url, pool_size=1, application="tests")
    partitions = names(database_url, "select relname from pg_class where relispartition")

    def is_compared(name: str | None, kind: str, _parents: object) -> bool:
        # Indexes and constraints are the migrations' alone; tables and columns are both's.
        return kind in {"schema", "column"} or (kind == "table" and name not in partitions)

    def differences(connection: Connection) -> list[object]:
        options = {"compare_type": True, "include_name": is_compared}
        context = MigrationContext.configure(connection, opts=options)
        found = compare_metadata(context, Base.metadata)
        return [each for each in found if not str(each[0]).startswith("remove_fk")]

    async with engine.connect() as connection:
        found = await connection.run_sync(differences)
    await engine.dispose()

    assert found == []


def test_every_constraint_and_index_follows_the_naming_rule(database_url: str) -> None:
    found = names(
        database_url,
        """
        select conname from pg_constraint join pg_class on pg_class.oid = conrelid
        where connamespace = 'public'::regnamespace and contype in ('p', 'u', 'c', 'f')
          and not relispartition and relname <> 'alembic_version'
        union select indexname from pg_indexes where schemaname = 'public'
          and tablename not in (select relname from pg_class where relispartition)
          and tablename <> 'alembic_version'
        """,
    )

    assert {
        name for name in found if not name.startswith(("pk_", "uq_", "ck_", "fk_", "ix_"))
    } == set()


def test_history_is_partitioned_by_day_a_week_ahead(database_url: str) -> None:
    partitions = names(database_url, "select inhrelid::regclass::text from pg_inherits order by 1")

    days = {name for name in partitions if name.removeprefix("health_checks_").isdigit()}
    assert len(days) == 8
    assert "health_checks_default" in partitions


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("update audit_logs set actor = 'mallory'", id="update"),
        pytest.param("delete from audit_logs", id="delete"),
        pytest.param("truncate audit_logs", id="truncate"),
    ],
)
def test_the_audit_log_cannot_be_changed(database_url: str, statement: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "insert into audit_logs (id, tenant_id, actor, action, request_id, outcome)"
            " values (gen_random_uuid(), 'acme', 'alice', 'integration.created', 'r', 'success')"
        )
        connection.commit()

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
