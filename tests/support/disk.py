"""A disk of the database's that can be filled and freed again."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

from stella_embedded.postgres import EmbeddedPostgres
from tests.support.postgres import binaries_of, migrate

SIZE = "192m"
"""The cluster takes 45 MB, its log 16 MB a segment."""

LOG_SEGMENTS = 4


class Disk(Protocol):
    """Where a migrated database lies."""

    url: str

    def fill(self) -> None:
        """Leave no room."""

    def free(self) -> None:
        """Give the room back."""


class SmallDisk:
    """A file system of the server's own, full for everyone. Takes root to mount."""

    def __init__(self, folder: Path, server: EmbeddedPostgres) -> None:
        self.url = server.url()
        self._filler = folder / "filler"

    def fill(self) -> None:
        self._keep_room_for_the_log()
        with self._filler.open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(b"\0" * 4096)

    def _keep_room_for_the_log(self) -> None:
        """
        Have the server keep segments of its log in stock, as one that is older does.

        One that cannot write its log stops altogether, which is another fault.
        """
        with psycopg.connect(self.url, autocommit=True) as connection:
            for _ in range(LOG_SEGMENTS):
                connection.execute("select pg_logical_emit_message(false, 'tests', 'x')")
                connection.execute("select pg_switch_wal()")
            connection.execute("checkpoint")

    def free(self) -> None:
        self._filler.unlink()


class ReportedDisk:
    """The server answers as with a full disk: what an ordinary user can have of one."""

    _TABLES = ("integrations", "schedule_state", "outbox", "audit_logs", "health_checks")

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.url = server.url()

    def fill(self) -> None:
        # One table after the other: all at once could deadlock with whoever writes.
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "create function disk_is_full() returns trigger language plpgsql as $$ begin raise"
                " exception 'could not extend file: No space left on device'"
                " using errcode = 'disk_full'; end $$"
            )
            for table in self._TABLES:
                connection.execute(
                    f"create trigger full_disk before insert on {table}"
                    " for each statement execute function disk_is_full()"
                )

    def free(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for table in self._TABLES:
                connection.execute(f"drop trigger full_disk on {table}")
            connection.execute("drop function disk_is_full")


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A small file system where this run may mount one, else a server that says it was full."""
    with tempfile.TemporaryDirectory(prefix="stella-disk-") as folder:
        place = Path(folder)
        place.chmod(0o755)
        with _mounted(place) if os.geteuid() == 0 else _plain() as is_small:
            server = EmbeddedPostgres(binaries_of(None), place / "postgres", durable=False)
            server.start()
            try:
                migrate(server.url())
                yield SmallDisk(place, server) if is_small else ReportedDisk(server)
            finally:
                server.stop()


@contextmanager
def _mounted(place: Path) -> Iterator[bool]:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0755", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        # The root of a container that may not mount.
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def _plain() -> Iterator[bool]:
    yield False
