"""A plugin's folder, read once: its digest, and the files that were asked for."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stella_contracts.errors import Rejected, Unavailable

MAX_FILES = 2000
MAX_BYTES = 20 * 1024 * 1024
MAX_DEPTH = 8

_CHUNK = 256 * 1024
_CACHE = "__pycache__"
_BYTECODE = ".pyc"


class FolderRejected(Rejected):
    """The folder cannot be accepted; the message says which part of it, and why."""

    code = "plugin_folder_rejected"


class ReadingStopped(Unavailable):
    """Whoever asked for the reading does not want it any more."""

    code = "plugin_reading_stopped"

    def __init__(self) -> None:
        super().__init__("Reading the plugin folders took too long, or the process is stopping.")


def never() -> bool:
    """For readings that nobody stops."""
    return False


@dataclass(frozen=True, slots=True)
class Folder:
    """What was read, and what it amounts to."""

    path: Path
    digest: str
    """`sha256:…` over names and contents: the same for the same files, wherever they lie."""

    names: frozenset[str]
    """Every file that counts, relative and with `/`."""

    kept: Mapping[str, bytes]
    """The contents of those that were asked for: the very bytes the digest was made of."""


def read_folder(
    path: Path, *, keep: Callable[[str], bool], stop: Callable[[], bool] = never
) -> Folder:
    """
    Read every file below `path`, bytecode excepted, which is never run.

    Blocks. Raises FolderRejected for a folder that is too large or too deep, has a link that
    leaves it, or cannot be read, and ReadingStopped once `stop` is true.
    """
    try:
        root = path.resolve(strict=True)
        files = dict(_Walk(root, stop).files())
    except (OSError, RuntimeError) as error:
        raise _unreadable("The folder", error) from error
    digest = hashlib.sha256()
    kept = {}
    left = MAX_BYTES
    for name in sorted(files, key=os.fsencode):
        if stop():
            raise ReadingStopped
        too_large = f"The folder has more than {MAX_BYTES} bytes."
        content = _read(files[name], name, limit=left, too_large=too_large)
        left -= len(content)
        encoded = os.fsencode(name)
        # Lengths go in as well, so that no byte can move between a name and a content.
        digest.update(len(encoded).to_bytes(8) + encoded + len(content).to_bytes(8))
        digest.update(content)
        if keep(name):
            kept[name] = content
    return Folder(path, f"sha256:{digest.hexdigest()}", frozenset(files), kept)


def read_file(path: Path, *, limit: int) -> bytes:
    """Read one regular file. Raises FolderRejected if it is none, or has more bytes."""
    too_large = f"{path.name!a} has more than {limit} bytes."
    return _read(path, path.name, limit=limit, too_large=too_large)


class _Walk:
    """One walk over a folder. Links are followed as long as they stay inside."""

    def __init__(self, root: Path, stop: Callable[[], bool]) -> None:
        self._root = root
        self._stop = stop
        self._seen = 0

    def files(self) -> Iterator[tuple[str, Path]]:
        """Each file that counts: its name below the folder, and where it really is."""
        return self._below(self._root, "", 1)

    def _below(self, folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, Path]]:
        if depth > MAX_DEPTH:
            raise FolderRejected(f"The folder is more than {MAX_DEPTH} levels deep.")
        with os.scandir(folder) as entries:
            for entry in entries:
                self._count()
                # What the interpreter writes beside the sources is never run.
                if entry.name == _CACHE or entry.name.endswith(_BYTECODE):
                    continue
                name = f"{prefix}{entry.name}"
                place = self._target(entry, name) if entry.is_symlink() else Path(entry.path)
                if place.is_dir():
                    yield from self._below(place, f"{name}/", depth + 1)
                else:
                    yield name, place

    def _count(self) -> None:
        self._seen += 1
        if self._seen > MAX_FILES:
            raise FolderRejected(f"The folder has more than {MAX_FILES} files.")
        if self._stop():
            raise ReadingStopped

    def _target(self, entry: os.DirEntry[str], name: str) -> Path:
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise FolderRejected(f"The link {name!a} leads nowhere.") from error
        if not target.is_relative_to(self._root):
            raise FolderRejected(f"The link {name!a} leaves the folder.")
        return target


def _read(path: Path, name: str, *, limit: int, too_large: str) -> bytes:
    content = bytearray()
    try:
        # A pipe would block without O_NONBLOCK. Links were followed, and checked, before.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FolderRejected(f"{name!a} is not a regular file.")
            while chunk := file.read(min(_CHUNK, limit + 1 - len(content))):
                content += chunk
                if len(content) > limit:
                    raise FolderRejected(too_large)
    except OSError as error:
        raise _unreadable(ascii(name), error) from error
    return bytes(content)


def _unreadable(what: str, error: Exception) -> FolderRejected:
    reason = getattr(error, "strerror", None) or type(error).__name__
    return FolderRejected(f"{what} cannot be read: {reason}.")
