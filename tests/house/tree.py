"""What is in the repository: the files that git has or would add."""

import ast
import importlib
import pkgutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]

PACKAGES = {
    package.name: package
    for parent in ("shared/*", "services/*", "migrations", "deploy/*", "extensions/*", "plugins/*")
    for package in sorted(ROOT.glob(f"{parent}/stella_*"))
    if (package / "__init__.py").exists()
}
"""Every package of ours by its name, with its folder."""

_RUN_WHEN_IMPORTED = ("__main__", "stella_migrations.env")


@cache
def files(suffix: str = "") -> list[Path]:
    """Paths relative to the root, sorted; without what .gitignore names."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
        timeout=30,
    ).stdout
    paths = {Path(name) for name in listed.split("\0") if name.endswith(suffix) and name}
    return sorted(path for path in paths if (ROOT / path).is_file())


def code() -> list[Path]:
    """The Python files that are not tests."""
    return [path for path in files(".py") if path.parts[0] != "tests"]


def read(path: Path) -> str:
    """The text of a file; what is not text reads as nothing."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(read(path), filename=str(path))


def modules() -> Iterator[ModuleType]:
    """Every module of the packages that are installed: plugins are not, by design."""
    for name, folder in PACKAGES.items():
        if folder.is_relative_to(ROOT / "plugins"):
            continue
        yield importlib.import_module(name)
        for found in pkgutil.walk_packages([str(folder)], f"{name}."):
            if not found.name.endswith(_RUN_WHEN_IMPORTED):
                yield importlib.import_module(found.name)
