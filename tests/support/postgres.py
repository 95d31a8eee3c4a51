"""A migrated PostgreSQL: one server a run, one database a test."""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from stella_embedded.postgres import EmbeddedPostgres, bundled_binaries
from stella_migrations.commands import upgrade
from tests.support.documented import INVENTED, problems_of_outbox

OLDEST = "oldest"
"""The oldest release that production may run: PostgreSQL 15, as Debian 12 has it."""

EMBEDDED = "embedded"
"""The release that `make up` runs, from the wheel."""

BOTH_RELEASES = [OLDEST, EMBEDDED]
"""For `@pytest.mark.parametrize("postgres_server", BOTH_RELEASES, indirect=True)`."""

_DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")


class PostgresServer(Protocol):
    """A server on which this run may make databases."""

    def url(self, database: str) -> str:
        """The address of one of its databases."""


class GivenServer:
    """The server that STELLA_TEST_DATABASE_URL names; its user may make databases."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    def url(self, database: str) -> str:
        return urlunsplit(self._url._replace(path=f"/{database}"))


@contextmanager
def running_server(binaries: Path) -> Iterator[EmbeddedPostgres]:
    """A server of one's own, which may be stopped, killed and started again."""
    with tempfile.TemporaryDirectory(prefix="stella-test-") as folder:
        server = EmbeddedPostgres(binaries, Path(folder) / "postgres", durable=False)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """
    The server of this run: the one given, else PostgreSQL 15, else the embedded one.

    A test that must pass on named releases parametrizes it (BOTH_RELEASES).
    """
    release = getattr(request, "param", None)
    given = os.environ.get("STELLA_TEST_DATABASE_URL")
    if given and release is None:
        yield GivenServer(given)
        return
    with running_server(binaries_of(release)) as server:
        yield server


def binaries_of(release: str | None) -> Path:
    """The programs of a release; without one, of the oldest that is installed."""
    if release == EMBEDDED or (release is None and not _DEBIAN_15.exists()):
        return bundled_binaries()
    if not _DEBIAN_15.exists():
        pytest.fail(f"No PostgreSQL 15 in {_DEBIAN_15}. Run tests/support/install-servers.sh.")
    return _DEBIAN_15


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a database with the newest schema, from which a test's own is copied."""
    with temporary_database(postgres_server) as name:
        migrate(postgres_server.url(name))
        yield name


def migrate(url: str, revision: str = "head") -> None:
    """Bring a database to a revision, the newest by default."""
    # Migrations run a loop of their own, which must not take the place of the tests' loop.
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(upgrade, url, revision).result()


@pytest.fixture
def database_url(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, migrated_template: str
) -> Iterator[str]:
    """
    A database with the newest schema and no rows, for one test.

    What the test's outbox holds in the end must be as docs/asyncapi.json describes it.
    """
    with temporary_database(postgres_server, template=migrated_template) as name:
        yield postgres_server.url(name)
        if request.node.get_closest_marker(INVENTED) is None:
            assert problems_of_outbox(postgres_server.url(name)) == []


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database without any table, for one test."""
    with temporary_database(postgres_server) as name:
        yield postgres_server.url(name)


@pytest.fixture
def own_postgres_server() -> Iterator[EmbeddedPostgres]:
    """A server for one test that stops, kills or restarts it. Its database is not migrated."""
    with running_server(binaries_of(None)) as server:
        yield server


@pytest.fixture
def own_migrated_server(own_postgres_server: EmbeddedPostgres) -> EmbeddedPostgres:
    """As `own_postgres_server`, with the newest schema in its database."""
    migrate(own_postgres_server.url())
    return own_postgres_server


async def start_again(server: EmbeddedPostgres) -> None:
    """Start a server that was stopped or killed, while the loop goes on."""
    await asyncio.to_thread(server.prepare)
    server.spawn()  # here: the server's life is tied to the thread that starts it
    await asyncio.to_thread(server.wait_until_ready)


@contextmanager
def temporary_database(server: PostgresServer, template: str = "template0") -> Iterator[str]:
    """Make a database, lend its name, and drop it whoever is still connected."""
    name = f"stella_test_{uuid4().hex}"
    names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    _execute(server, sql.SQL("create database {name} template {template}").format(**names))
    try:
        yield name
    finally:
        _execute(server, sql.SQL("drop database {name} with (force)").format(**names))


def _execute(server: PostgresServer, statement: sql.Composed) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement)
