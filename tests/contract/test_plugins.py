"""The conformance suite on every plugin below plugins/: adding one needs no line here."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.app_key import app_key_pem

from stella_contracts.plugin import Secret
from stella_contracts.testing import PluginConformance, Subject

PLUGINS = Path(__file__).parents[2] / "plugins"
FOLDERS = sorted(manifest.parent for manifest in PLUGINS.glob("*/plugin.toml"))
SECRETS: Mapping[str, Callable[[], str]] = {"github-app": app_key_pem}
"""Of plugins that ask nobody anything with another secret than one of their form."""


def test_plugins_are_found() -> None:
    known = {"github-app", "gitlab", "harbor", "in-memory", "jenkins", "oci-registry"}

    assert known <= {folder.name for folder in FOLDERS}


class TestPlugins(PluginConformance):
    @pytest.fixture(autouse=True, params=FOLDERS, ids=lambda folder: folder.name)
    def _folder(self, request: pytest.FixtureRequest) -> None:
        self.folder = request.param

    def subject(self) -> Subject:
        subject = super().subject()
        made = SECRETS.get(self.folder.name)
        return replace(subject, secret=Secret({"value": made()})) if made else subject
