"""Manifest to plugin object: trusted plugins, in this process."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from stella_contracts.errors import PluginUnavailable, Unavailable
from stella_contracts.manifest import Manifest
from stella_contracts.plugin import IntegrationPlugin
from stella_contracts.plugins import PluginState, PluginTrust
from stella_runtime.persistence.plugin_metadata import PluginRecord
from stella_runtime.plugin_host.folder import Folder, FolderRejected, read_folder
from stella_runtime.plugin_host.importing import PackageImporter, PackageNameTaken, import_module
from stella_runtime.plugin_host.package import Package, entry_module, package_name

log = structlog.get_logger()

ListRecords = Callable[[], Awaitable[Sequence[PluginRecord]]]
"""What the catalog knows. Records that are not ready lend their reasons to the refusals."""

FRESH_SECONDS = 60.0
"""The catalog is read again after this long: an event may have been missed."""
RETRY_SECONDS = 5.0
"""What was unknown, or not as accepted, is looked at again no sooner."""
READ_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin that can be called, with the manifest that was accepted."""

    plugin: IntegrationPlugin
    manifest: Manifest


class _CannotLoad(Exception):
    """Why not, as a sentence."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What came of loading a version."""

    digest: str | None
    loaded: LoadedPlugin | None = None
    importer: PackageImporter | None = None
    refusal: str = ""
    until: float = float("inf")
    """When a refusal is worth another look. Code that failed is not run again."""


class PluginHost:
    """Loads each plugin at first use, and again when another version was accepted."""

    def __init__(
        self, list_records: ListRecords, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._list_records = list_records
        self._clock = clock
        self._catalog: dict[str, PluginRecord] = {}
        self._looked_at = float("-inf")
        self._attempts: dict[str, _Attempt] = {}
        self._reading = asyncio.Lock()
        self._loading = asyncio.Lock()

    async def get(self, provider_type: str) -> LoadedPlugin:
        """
        The plugin for a type, of the version that was accepted.

        Raises PluginUnavailable, with a sentence, for a type that nobody provides, that is
        refused, whose files are not those that were accepted, or whose code does not load.
        """
        record = await self._find(provider_type)
        attempt = self._attempt(record)
        if attempt is None:
            async with self._loading:
                # Who waited for the lock finds what the other has loaded.
                attempt = self._attempt(record) or await self._load(record)
        if attempt.loaded is None:
            raise PluginUnavailable(attempt.refusal)
        return attempt.loaded

    async def refresh(self) -> None:
        """
        Read the catalog again, since a plugin event says that it has changed.

        While it cannot be read, what was known goes on being used.
        """
        async with self._reading:
            await self._read_catalog()

    async def _read_catalog(self) -> None:
        try:
            records = await self._list_records()
        except Unavailable as error:
            log.warning("plugin_catalog_not_read", reason=str(error))
            return
        finally:
            self._looked_at = self._clock()
        catalog: dict[str, PluginRecord] = {}
        for record in records:
            if record.manifest is None:
                continue
            provider_type = record.manifest.provider_type
            if record.state is PluginState.READY or provider_type not in catalog:
                catalog[provider_type] = record
        self._catalog = catalog
        ready = {r.path for r in catalog.values() if r.state is PluginState.READY}
        for path in [path for path in self._attempts if path not in ready]:
            self._drop(path)

    def close(self) -> None:
        """Forget every plugin and its modules."""
        for path in list(self._attempts):
            self._drop(path)

    async def _find(self, provider_type: str) -> PluginRecord:
        if self._is_due_for_a_look(provider_type):
            async with self._reading:
                # Who waited finds what the other has read: a worker that starts has many checks
                # at once, and none of them may fail for a catalog that is still on its way.
                if self._is_due_for_a_look(provider_type):
                    await self._read_catalog()
        record = self._catalog.get(provider_type)
        if record is None:
            raise PluginUnavailable(f"No plugin provides {provider_type[:64]!r}.")
        if record.state is not PluginState.READY:
            raise PluginUnavailable(
                f"The plugin {record.plugin_id!r} cannot be used:"
                f" {record.last_error or record.state.value}"
            )
        return record

    def _is_due_for_a_look(self, provider_type: str) -> bool:
        record = self._catalog.get(provider_type)
        usable = record is not None and record.state is PluginState.READY
        return self._clock() - self._looked_at >= (FRESH_SECONDS if usable else RETRY_SECONDS)

    def _attempt(self, record: PluginRecord) -> _Attempt | None:
        """The attempt that still counts for this version."""
        attempt = self._attempts.get(record.path)
        if attempt is None or attempt.digest != record.digest or self._clock() >= attempt.until:
            return None
        return attempt

    async def _load(self, record: PluginRecord) -> _Attempt:
        before = self._attempts.get(record.path)
        attempt = await self._try_to_load(record)
        if before is not None and before.importer is not None:
            before.importer.uninstall()
        self._attempts[record.path] = attempt
        if attempt.loaded is not None:
            log.info("plugin_loaded", plugin_id=record.plugin_id, digest=record.digest)
        elif before is None or before.refusal != attempt.refusal:
            log.warning("plugin_not_loaded", plugin_id=record.plugin_id, reason=attempt.refusal)
        return attempt

    async def _try_to_load(self, record: PluginRecord) -> _Attempt:
        manifest, name = record.manifest, f"The plugin {record.plugin_id!r}"
        # Asked here too: nothing but this line stands between a row and the worker's secrets.
        if manifest is None or record.trust is not PluginTrust.BUILT_IN:
            return _Attempt(record.digest, refusal=f"{name} is not trusted to run in this process.")
        try:
            folder = await _read(record)
        except _CannotLoad as error:
            until = self._clock() + RETRY_SECONDS
            return _Attempt(record.digest, refusal=f"{name} {error}", until=until)
        importer = PackageImporter(Package(package_name(manifest), folder))
        try:
            importer.install()
            plugin = _plugin_of(manifest)
        except PackageNameTaken as error:
            return _Attempt(record.digest, refusal=f"{name} cannot be imported: {error}")
        except _CannotLoad as error:
            importer.uninstall()
            return _Attempt(record.digest, refusal=f"{name} {error}")
        except (Exception, SystemExit) as error:
            # The plugin's own code ran, and may have raised anything.
            importer.uninstall()
            log.warning("plugin_import_failed", plugin_id=record.plugin_id, exc_info=error)
            refusal = f"{name} cannot be imported: {type(error).__name__}."
            return _Attempt(record.digest, refusal=refusal)
        return _Attempt(record.digest, LoadedPlugin(plugin, manifest), importer)

    def _drop(self, path: str) -> None:
        importer = self._attempts.pop(path).importer
        if importer is not None:
            importer.uninstall()


async def _read(record: PluginRecord) -> Folder:
    """The folder as it was accepted. Raises _CannotLoad for any other."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            folder = await asyncio.to_thread(
                read_folder, Path(record.path), keep=lambda name: name.endswith(".py")
            )
    except FolderRejected as error:
        raise _CannotLoad(f"cannot be read. {error}") from error
    except TimeoutError as error:
        raise _CannotLoad("cannot be read in time.") from error
    if folder.digest != record.digest:
        raise _CannotLoad("was changed after it was accepted. Scan the plugins again.")
    return folder


def _plugin_of(manifest: Manifest) -> IntegrationPlugin:
    """Make the plugin. Raises _CannotLoad when it is not what its manifest says."""
    _, _, name = manifest.entry_point.partition(":")
    kind = getattr(import_module(entry_module(manifest)), name, None)
    if kind is None:
        raise _CannotLoad(f"has no {manifest.entry_point!r}.")
    plugin: IntegrationPlugin = kind()
    for method in ("check_health", "validate_config"):
        if not callable(getattr(plugin, method, None)):
            raise _CannotLoad(f"has no method {method!r}, so it is no IntegrationPlugin.")
    provided = getattr(plugin, "provider_type", None)
    if provided != manifest.provider_type:
        raise _CannotLoad(
            f"provides {str(provided)[:64]!r}, and its manifest says {manifest.provider_type!r}."
        )
    return plugin
