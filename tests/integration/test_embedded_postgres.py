"""The embedded server on real PostgreSQL, the oldest release and the wheel's."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import psycopg
import pytest
from tests.support.postgres import BOTH_RELEASES, binaries_of

from stella_embedded.launch import EmbeddedServerFailed
from stella_embedded.postgres import EmbeddedPostgres, embedded_postgres

_RUN_FOREVER = """
import asyncio, sys
from pathlib import Path
from stella_embedded.postgres import embedded_postgres

async def main():
    async with embedded_postgres(Path(sys.argv[1]), Path(sys.argv[2]), durable=False) as url:
        print(url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(params=BOTH_RELEASES)
def binaries(request: pytest.FixtureRequest) -> Path:
    return binaries_of(request.param)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(binaries_of(None), tmp_path / "data", durable=False)
    server.start()
    yield server
    server.stop()


def eventually(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def remember(server: EmbeddedPostgres, value: int) -> None:
    with psycopg.connect(server.url()) as connection:
        connection.execute("create table kept (value int)")
        connection.execute("insert into kept values (%s)", [value])


def remembered(server: EmbeddedPostgres) -> list[tuple[int]]:
    with psycopg.connect(server.url()) as connection:
        return connection.execute("select value from kept").fetchall()


async def test_its_database_answers_in_unicode_and_leaves_with_the_block(
    binaries: Path, tmp_path: Path
) -> None:
    async with embedded_postgres(binaries, tmp_path / "data", durable=False) as url:
        connection = await asyncpg.connect(url)
        answer = await connection.fetchrow(
            "select current_database() as name, lower('ÄÖ') as lower, pg_backend_pid() as pid"
        )
        await connection.close()

    assert answer is not None
    assert (answer["name"], answer["lower"]) == ("stellaops_integrations", "äö")
    assert not psutil.pid_exists(answer["pid"])


def test_only_its_own_user_can_reach_it(server: EmbeddedPostgres, tmp_path: Path) -> None:
    with psycopg.connect(server.url()) as connection:
        addresses = connection.execute("show listen_addresses").fetchone()

    assert addresses == ("",)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / ".s.PGSQL.5432").stat().st_mode) == 0o700


def test_server_is_not_root(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    status = Path(f"/proc/{server.pid}/status").read_text()
    capabilities = next(line for line in status.splitlines() if line.startswith("CapEff"))

    assert int(capabilities.split()[1], 16) == 0


def test_data_outlives_a_stop(server: EmbeddedPostgres) -> None:
    remember(server, 1)

    server.stop()
    server.start()

    assert remembered(server) == [(1,)]


def test_data_outlives_a_kill(server: EmbeddedPostgres) -> None:
    remember(server, 2)

    server.kill()
    server.start()

    assert remembered(server) == [(2,)]


def test_pid_file_of_a_crash_that_names_a_living_process_is_no_obstacle(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """After a restart of the machine the old number belongs to anyone."""
    pid_file = tmp_path / "data" / "cluster" / "postmaster.pid"
    server.kill()
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")

    server.start()

    with psycopg.connect(server.url()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_interrupted_initialisation_is_made_anew(tmp_path: Path) -> None:
    leftover = tmp_path / "data" / "cluster.new"
    leftover.mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("15\n")
    server = EmbeddedPostgres(binaries_of(None), tmp_path / "data", durable=False)

    server.start()

    assert server.pid is not None
    server.stop()


@pytest.mark.parametrize("name", ["data", "long" * 30], ids=["short path", "long path"])
def test_second_server_on_one_folder_is_refused_and_the_first_goes_on(
    tmp_path: Path, name: str
) -> None:
    first, second = (
        EmbeddedPostgres(binaries_of(None), tmp_path / name, durable=False) for _ in range(2)
    )
    first.start()

    with pytest.raises(EmbeddedServerFailed, match="Another process already runs"):
        second.start()

    with psycopg.connect(first.url()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    first.stop()


def test_folder_of_another_release_is_refused_with_a_reason(tmp_path: Path) -> None:
    oldest, newest = (
        EmbeddedPostgres(binaries_of(release), tmp_path / "data", durable=False)
        for release in BOTH_RELEASES
    )
    oldest.start()
    oldest.stop()

    with pytest.raises(EmbeddedServerFailed, match="initialized by PostgreSQL version 15"):
        newest.start()


def test_socket_of_a_long_path_lies_elsewhere_and_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    server = EmbeddedPostgres(binaries_of(None), folder, durable=False)

    server.start()
    sockets = (folder / "sockets").readlink()
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    server.stop()

    assert not sockets.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_server_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    data = tmp_path / "data"
    parent = subprocess.Popen(
        [sys.executable, "-c", _RUN_FOREVER, str(binaries_of(None)), str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    with parent.stdout as output:
        assert output.readline().startswith(b"postgresql://")
    server = psutil.Process(int((data / "cluster" / "postmaster.pid").read_text().split()[0]))

    parent.send_signal(number)
    parent.wait(20)

    eventually(lambda: not server.is_running(), "the server has ended")
