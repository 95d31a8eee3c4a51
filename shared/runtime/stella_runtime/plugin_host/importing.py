"""Imports the code of a plugin from the bytes its digest was made of, and from nowhere else."""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from stella_runtime.plugin_host.package import Package


class PackageNameTaken(ImportError):
    """Something else in this process has the name of the plugin's package."""


class PackageImporter(MetaPathFinder):
    """
    Finds the modules of one plugin for Python's import system, while it is installed.

    Neither `sys.path` nor bytecode on disk has a say: a module that the folder does not have
    does not exist.
    """

    def __init__(self, package: Package) -> None:
        self._package = package

    def install(self) -> None:
        """
        Take the place of an earlier version of the package, whose modules are forgotten.

        Raises PackageNameTaken if the name belongs to something that lies elsewhere.
        """
        name, root = self._package.name, self._package.root
        origin = _origin(name)
        if origin is not None and origin not in (root / name, root / f"{name}.py"):
            raise PackageNameTaken(f"the package name {name!r} is taken in this process.")
        _forget(name)
        sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """Forget the modules. Objects made of them go on working."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            _forget(self._package.name)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - of Python's interface
        target: ModuleType | None = None,  # noqa: ARG002 - likewise
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != self._package.name:
            return None
        module = self._package.find(fullname)
        if module is None:
            # Not None: Python would go on and look for it on disk.
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        places = [str(self._package.root / fullname.replace(".", "/"))]
        if module.source is None:
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = places
            return spec
        file = str(self._package.folder.path / module.source)
        return spec_from_file_location(
            fullname,
            file,
            loader=_FromMemory(file, self._package.folder.kept[module.source]),
            submodule_search_locations=places if module.is_package else None,
        )


class _FromMemory(SourceLoader):
    """One module. Tracebacks and `__file__` name the file it was read from."""

    def __init__(self, path: str, content: bytes) -> None:
        self.path = path
        self._content = content

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 - one module, one file
        return self.path

    def get_data(self, path: str) -> bytes:
        if path != self.path:
            raise OSError(f"Not a source of this plugin: {path!r}")
        return self._content

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002 - one module, one file
        return Path(self.path).name == "__init__.py"


def import_module(name: str) -> ModuleType:
    """Import a module of an installed importer. Raises whatever its code raises."""
    return importlib.import_module(name)


def _origin(name: str) -> Path | None:
    """The file or folder of the package of that name that this process could import, if any."""
    loaded = sys.modules.get(name)
    try:
        spec = loaded.__spec__ if loaded else find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ()) or [spec.origin or "built-in"]
    return Path(places[0]).resolve()


def _forget(name: str) -> None:
    for finder in [each for each in sys.meta_path if isinstance(each, PackageImporter)]:
        if finder._package.name == name:  # noqa: SLF001 - its own class
            sys.meta_path.remove(finder)
    for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[module]
