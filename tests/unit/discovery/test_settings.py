"""The settings of discovery, from the environment."""

from pathlib import Path

import pytest

from stella_discovery.settings import IN_THE_IMAGE, DiscoverySettings


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("STELLA_ENVIRONMENT", "STELLA_BUILTIN_PLUGIN_PATH", "STELLA_PLUGIN_PATHS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STELLA_DATABASE_URL", "postgresql://user@host/name")
    monkeypatch.setenv("STELLA_AMQP_URL", "amqp://host")
    return monkeypatch


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        pytest.param("", (), id="empty"),
        pytest.param("/one", (Path("/one"),), id="one"),
        pytest.param("/one:/two words", (Path("/one"), Path("/two words")), id="two"),
        pytest.param(":/one::", (Path("/one"),), id="stray colons"),
    ],
)
def test_plugin_paths_are_parted_like_path(
    environment: pytest.MonkeyPatch, value: str, paths: tuple[Path, ...]
) -> None:
    environment.setenv("STELLA_PLUGIN_PATHS", value)

    assert DiscoverySettings().sources.paths == paths


def test_built_in_path_can_be_set(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("STELLA_BUILTIN_PLUGIN_PATH", "/opt/plugins")

    assert DiscoverySettings().sources.built_in == (Path("/opt/plugins"),)


def test_built_in_path_is_the_image_s_unless_set(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("STELLA_BUILTIN_PLUGIN_PATH", "")

    assert DiscoverySettings().sources.built_in == (IN_THE_IMAGE,)


def test_embedded_hub_has_the_plugins_of_the_checkout(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("STELLA_ENVIRONMENT", "embedded")

    [path] = DiscoverySettings().sources.built_in

    assert path == Path(__file__).parents[3] / "plugins"
