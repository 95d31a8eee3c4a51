"""Finds plugins: configured paths and installed packages to manifests. Runs no plugin code."""

import importlib
import os
import threading
from asyncio import timeout, to_thread
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from stella_contracts import manifest as manifests
from stella_contracts.errors import ManifestRejected
from stella_contracts.manifest import Manifest
from stella_contracts.plugins import PluginTrust
from stella_runtime.plugin_host.config_schema import (
    check_config_schema,
    check_json,
    with_hub_fields,
)
from stella_runtime.plugin_host.folder import (
    Folder,
    FolderRejected,
    ReadingStopped,
    never,
    read_file,
    read_folder,
)
from stella_runtime.plugin_host.package import check_package

ENTRY_POINT_GROUP = "stella.integrations.plugins"
MANIFEST = "plugin.toml"
MAX_FOLDERS = 1000
SCAN_SECONDS = 120.0

_LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True)
class Sources:
    """Where plugins are looked for."""

    built_in: Sequence[Path] = ()
    """Plugins below these are the hub's own. A path is a plugin, or a folder of plugins."""

    paths: Sequence[Path] = ()
    """Likewise, for plugins that are not."""

    installed: bool = True
    """Whether packages of this Python with an entry point of our group are looked at."""


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin, or the reason why there is none where one was expected."""

    path: str
    """Absolute, links followed. For a package that is not there, `entry-point:<package>`."""

    trust: PluginTrust
    manifest: Manifest | None = None
    digest: str | None = None
    error: str | None = None
    """A sentence, if it cannot be accepted. The manifest is given if that much was readable."""

    @property
    def plugin_id(self) -> str:
        """What its manifest says; without one, the name of the folder."""
        return self.manifest.id if self.manifest else Path(self.path).name or self.path


async def scan_in_thread(sources: Sources) -> Sequence[Found]:
    """
    Scan without blocking the loop. Raises ReadingStopped when it takes longer than 120 s.

    A scan that is stopped or cancelled yields nothing: half a catalog would look like removals.
    """
    cancelled = threading.Event()
    try:
        async with timeout(SCAN_SECONDS):
            return await to_thread(scan, sources, cancelled.is_set)
    except TimeoutError as error:
        raise ReadingStopped from error
    finally:
        # A thread cannot be cancelled; it looks at this between two files.
        cancelled.set()


def scan(sources: Sources, stop: Callable[[], bool] = never) -> Sequence[Found]:
    """
    Look at every source, each folder once. Blocks; bounded in folders, files, bytes and depth.

    What is wrong with one plugin is said in its place, and the others go on. Raises
    ReadingStopped once `stop` is true.
    """
    built_in = [_resolved(path) for path in sources.built_in]
    found: dict[str, Found] = {}
    for place in _places(sources):
        if stop():
            raise ReadingStopped
        key = _text(place.path)
        if key in found:
            continue
        inside = any(place.path.is_relative_to(path) for path in built_in)
        trust = PluginTrust.BUILT_IN if inside else PluginTrust.UNTRUSTED
        found[key] = place.refused(trust) if place.error else _look(place.path, trust, stop)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Place:
    """Somewhere to look, or what is wrong with it."""

    path: Path
    error: str | None = None

    def refused(self, trust: PluginTrust) -> Found:
        return Found(_text(self.path), trust, error=_sentence(self.error or ""))


def _places(sources: Sources) -> Iterator[_Place]:
    for path in (*sources.built_in, *sources.paths):
        yield from _below(_resolved(path))
    if sources.installed:
        yield from _installed()


def _below(path: Path) -> Iterator[_Place]:
    """The plugin that a configured path is, or the plugins that are directly below it."""
    try:
        if os.path.lexists(path / MANIFEST):
            yield _Place(path)
            return
        names = _names(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        yield _Place(path, f"The configured plugin path cannot be read: {reason}.")
        return
    if len(names) > MAX_FOLDERS:
        # Which ones would be left out could change from scan to scan.
        yield _Place(path, f"The path has more than {MAX_FOLDERS} entries; none was looked at.")
        return
    for name in sorted(names):
        yield from _child(path, path / name)


def _names(path: Path) -> list[str]:
    names: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.name.startswith((".", "__")):
                names.append(entry.name)
            if len(names) > MAX_FOLDERS:
                break
    return names


def _child(parent: Path, path: Path) -> Iterator[_Place]:
    """A folder is a plugin if it has a manifest; another file or folder is none of our business."""
    try:
        if not path.is_dir() or not os.path.lexists(path / MANIFEST):
            return
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        yield _Place(path, f"The folder cannot be read: {type(error).__name__}.")
        return
    if target.is_relative_to(parent):
        yield _Place(target)
    else:
        yield _Place(path, "The link leaves the configured plugin path. Configure its target.")


def _installed() -> Iterator[_Place]:
    # A package that was installed after this process had started is to be found as well.
    importlib.invalidate_caches()
    listed = sorted(entry_points(group=ENTRY_POINT_GROUP))
    for entry_point in listed[:MAX_FOLDERS]:
        yield _package_of(entry_point)


def _package_of(entry_point: EntryPoint) -> _Place:
    package = entry_point.value.strip()
    nowhere = Path(f"entry-point:{package[:200]}")
    # With a dot in it, finding it would import what is before the dot.
    if not package.isidentifier():
        return _Place(nowhere, f"The entry point must name a top-level package, not {package!a}.")
    try:
        spec = find_spec(package)
    except (ImportError, ValueError) as error:
        return _Place(nowhere, f"The package cannot be found: {type(error).__name__}.")
    if spec is None or not spec.submodule_search_locations:
        return _Place(nowhere, f"The entry point names {package!a}, which is no package.")
    return _Place(_resolved(Path(next(iter(spec.submodule_search_locations)))))


def _look(path: Path, trust: PluginTrust, stop: Callable[[], bool]) -> Found:
    manifest: Manifest | None = None
    try:
        os.fsencode(path).decode()
        manifest = _manifest(read_file(path / MANIFEST, limit=manifests.MAX_BYTES))
        check_config_schema(manifest.config_schema)
        folder = read_folder(path, keep=lambda name: name == MANIFEST, stop=stop)
        _check_unchanged(manifest, folder)
        check_package(manifest, folder)
    except UnicodeDecodeError:
        error = "The path is not UTF-8."
    except (ManifestRejected, FolderRejected) as rejected:
        error = str(rejected)
    else:
        return Found(_text(path), trust, with_hub_fields(manifest), folder.digest)
    return Found(_text(path), trust, manifest, error=_sentence(error))


def _manifest(content: bytes) -> Manifest:
    manifest = Manifest.read(content)
    check_json(manifest.model_dump())
    return manifest


def _check_unchanged(manifest: Manifest, folder: Folder) -> None:
    if MANIFEST not in folder.kept or _manifest(folder.kept[MANIFEST]) != manifest:
        raise FolderRejected("The folder was changed while it was read. Scan again.")


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def _text(path: Path) -> str:
    """The path as a database can hold it."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _sentence(text: str) -> str:
    """One line, of a length that a table can show."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= _LONGEST_ERROR else f"{line[: _LONGEST_ERROR - 1]}…"
