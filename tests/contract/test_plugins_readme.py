"""The six steps of plugins/README.md, taken: what it says to copy and paste is a plugin."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stella_contracts.testing import PluginConformance

PLUGINS = Path(__file__).parents[2] / "plugins"
README = (PLUGINS / "README.md").read_text()


def block(language: str) -> str:
    """The first block of code of that language."""
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that was made as the steps say."""
    root = tmp_path_factory.mktemp("readme")
    shutil.copytree(PLUGINS, root / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["bash", "-euc", block("bash")], cwd=root, check=True, timeout=30)
    folder = root / "plugins" / "acme"
    manifest = folder / "plugin.toml"
    kept, _, _ = manifest.read_text().partition("identity_fields")
    manifest.write_text(kept + block("toml"))
    (folder / "stella_plugin_acme" / "plugin.py").write_text(block("python"))
    yield folder
    sys.path[:] = [entry for entry in sys.path if entry != str(folder)]


class TestAcme(PluginConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, acme: Path) -> None:
        self.folder = acme


def test_nothing_of_the_template_is_left(acme: Path) -> None:
    written = [path for path in acme.rglob("*") if path.is_file() and path.suffix != ".pyc"]

    assert sorted(path.name for path in written) == [
        "__init__.py",
        "plugin.py",
        "plugin.toml",
        "py.typed",
    ]
    assert not [path for path in written if re.search(r"(?i)in.?memory", path.read_text())]
