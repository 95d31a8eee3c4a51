"""The conformance suite on every plugin below plugins/: adding one needs no line here."""

from pathlib import Path

import pytest

from stella_contracts.testing import PluginConformance

PLUGINS = Path(__file__).parents[2] / "plugins"
FOLDERS = sorted(manifest.parent for manifest in PLUGINS.glob("*/plugin.toml"))


def test_plugins_are_found() -> None:
    assert {"gitlab", "harbor", "in-memory", "oci-registry"} <= {folder.name for folder in FOLDERS}


class TestPlugins(PluginConformance):
    @pytest.fixture(autouse=True, params=FOLDERS, ids=lambda folder: folder.name)
    def _folder(self, request: pytest.FixtureRequest) -> None:
        self.folder = request.param
