"""Where the modules of a plugin lie in its folder. Known from file names alone."""

import sys
from dataclasses import dataclass
from pathlib import Path

from stella_contracts.errors import ManifestRejected
from stella_contracts.manifest import Manifest
from stella_runtime.plugin_host.folder import Folder

_OUR_PREFIX = "stella_"
_PLUGIN_PREFIX = "stella_plugin_"


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the plugin."""

    source: str | None
    """Its file, relative to the folder; None for a package without `__init__.py`."""

    is_package: bool


@dataclass(frozen=True, slots=True)
class Package:
    """
    The package of a plugin, whose name no other plugin may have.

    It lies in the plugin's folder, or is that folder, as an installed package is.
    """

    name: str
    folder: Folder

    @property
    def root(self) -> Path:
        """The folder that the package lies in."""
        return self.folder.path.parent if self._is_the_folder else self.folder.path

    def find(self, module: str) -> Module | None:
        """The module of that full name, by the rules of Python's own path finder."""
        place = module.replace(".", "/")
        if self._is_the_folder:
            place = place.removeprefix(self.name).removeprefix("/")
        package = f"{place}/__init__.py".removeprefix("/")
        if package in self.folder.names:
            return Module(package, is_package=True)
        if place and f"{place}.py" in self.folder.names:
            return Module(f"{place}.py", is_package=False)
        if any(name.startswith(f"{place}/" if place else "") for name in self.folder.names):
            return Module(None, is_package=True)
        return None

    @property
    def _is_the_folder(self) -> bool:
        inside = (f"{self.name}.py", f"{self.name}/")
        return self.folder.path.name == self.name and not any(
            name.startswith(inside) for name in self.folder.names
        )


def package_name(manifest: Manifest) -> str:
    """The top-level name that the plugin's modules have."""
    return manifest.entry_point.partition(":")[0].partition(".")[0]


def entry_module(manifest: Manifest) -> str:
    """The full name of the module that has the plugin's class."""
    return manifest.entry_point.partition(":")[0]


def check_package(manifest: Manifest, folder: Folder) -> None:
    """Raise ManifestRejected unless the entry point can be what it says, judged by its file."""
    name, module = package_name(manifest), entry_module(manifest)
    ours = name.startswith(_OUR_PREFIX) and not name.startswith(_PLUGIN_PREFIX)
    if ours or name in sys.stdlib_module_names:
        raise ManifestRejected(
            f"The package name {name!a} is taken. Call it {_PLUGIN_PREFIX}<name of the plugin>."
        )
    found = Package(name, folder).find(module)
    if found is None or found.source is None:
        raise ManifestRejected(
            f"entry_point names the module {module!a}, which the folder does not have."
        )
