"""Starting in the background, and stopping what was started there."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from stella_embedded.settings import EmbeddedSettings

START_SECONDS = 120
STOP_SECONDS = 60
POLL_SECONDS = 0.05


class NotStarted(Exception):
    """It did not come up; the message says why, or where that is written."""


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """
    Hold the folder for this process, and leave its number there for `down`.

    Raises NotStarted if another process holds it.
    """
    with (folder / "stella.pid").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotStarted(
                f"It runs already, with its data in {folder}. `make down` stops it."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


def _running(folder: Path) -> int | None:
    """The number of the process that holds the folder, or None."""
    path = folder / "stella.pid"
    if not path.exists():
        return None
    with path.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            content = file.read().strip()
            return int(content) if content else None
    return None


def start(settings: EmbeddedSettings) -> str:
    """
    Start the system in the background and wait until it is ready.

    Returns what it printed for its user. Raises NotStarted.
    """
    settings.folder.mkdir(parents=True, exist_ok=True)
    if _running(settings.folder):
        raise NotStarted(
            f"It runs already, with its data in {settings.folder}. `make down` stops it."
        )
    log = settings.folder / "stella.log"
    ready = settings.folder / "ready.txt"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "stella_embedded", "up", "--port", str(settings.port)]
    log.touch(mode=0o600)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if ready.exists():
            return ready.read_text()
        if process.poll() is not None:
            said = log.read_bytes()[-2000:].decode(errors="replace")
            raise NotStarted(f"It ended while it started. The end of {log}:\n{said}")
        time.sleep(POLL_SECONDS)
    process.terminate()
    raise NotStarted(f"It was not ready within {START_SECONDS} s. See {log}.")


def stop(folder: Path) -> bool:
    """Stop what runs on the folder, and say whether anything did. Raises NotStarted if it stays."""
    pid = _running(folder)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if _running(folder) is None:
            return True
        time.sleep(POLL_SECONDS)
    raise NotStarted(f"Process {pid} did not stop within {STOP_SECONDS} s.")
