"""How a server process is started: not as root, and not outliving its parent."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from stella_contracts.errors import Unavailable

_PROBE_SECONDS = 10
_NOBODY = "nobody"


class EmbeddedServerFailed(Unavailable):
    """A server that the embedded mode runs itself did not start; the message says what to do."""

    code = "embedded_server_failed"


def clean_environment() -> Mapping[str, str]:
    """What a server inherits: no PG* or other variable of the caller can redirect it."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def bound_to_parent() -> list[str]:
    """
    The command prefix that has a process told to stop when its parent dies, even of SIGKILL.

    Linux ties this to the parent's *thread*: start the process from one that lives on. Where
    the system has no setpriv the prefix is empty, and a killed parent leaves its server behind.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT"] if setpriv else []


def unprivileged(programs: Path, folder: Path) -> list[str]:
    """
    The command prefix under which `programs` can be run on `folder` by someone who is not root.

    An ordinary user needs none. For root it is a user namespace where root's own files belong
    to `nobody`: nothing changes its owner, and a private home is no obstacle. Where namespaces
    are not permitted, the prefix becomes the user `nobody` and `folder` is given to it.
    Raises EmbeddedServerFailed when neither works.
    """
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam(_NOBODY)
    user, group = str(nobody.pw_uid), str(nobody.pw_gid)
    owner = folder.stat().st_uid
    if owner not in (0, nobody.pw_uid):
        raise EmbeddedServerFailed(
            f"{folder} belongs to user {owner}. Run this as that user, or remove the folder."
        )
    namespace = ["unshare", "--user", f"--map-user={user}", f"--map-group={group}", "--"]
    if owner == 0 and _usable(namespace, programs, folder):
        return namespace
    drop = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--"]
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    if _usable(drop, programs, folder):
        return drop
    os.chown(folder, 0, 0)
    raise EmbeddedServerFailed(
        "PostgreSQL does not run as root, and here it can neither get a user namespace nor be run"
        f" by {_NOBODY}, who must reach {programs} and {folder}. Run this as an ordinary user."
    )


def _usable(prefix: Sequence[str], programs: Path, folder: Path) -> bool:
    """Whether, under the prefix, one is not root, can run the programs and write the folder."""
    script = 'test "$(id -u)" != 0 && test -x "$1/postgres" && test -w "$2" && test -x "$2"'
    command = [*prefix, "sh", "-c", script, "probe", str(programs), str(folder)]
    try:
        outcome = subprocess.run(  # noqa: S603 - a fixed command on our own paths
            command,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return outcome.returncode == 0
