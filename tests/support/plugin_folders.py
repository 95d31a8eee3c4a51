"""Writes plugin folders for tests of scanning and loading."""

from pathlib import Path

HEALTHY_PLUGIN = """
from stella_contracts.health import HealthResult


class Plugin:
    provider_type = "{provider_type}"
    answer = "{answer}"

    async def check_health(self, integration, context):
        return HealthResult(status="healthy")

    async def validate_config(self, config):
        return None
"""

SCHEMA = 'config_schema = { type = "object" }'


def a_manifest(
    provider_type: str = "example",
    *,
    plugin_id: str | None = None,
    package: str | None = None,
    version: str = "1.0.0",
    api_version: str = "1",
    schema: str = SCHEMA,
    more: str = "",
) -> str:
    """The text of a plugin.toml, accepted unless an argument says otherwise."""
    package = package or package_of(provider_type)
    lines = [
        f'id = "{plugin_id or provider_type}"',
        f'provider_type = "{provider_type}"',
        f'version = "{version}"',
        f"api_version = {api_version}",
        f'entry_point = "{package}.plugin:Plugin"',
        schema,
        more,
    ]
    return "\n".join(lines)


def package_of(provider_type: str) -> str:
    """The package of a plugin that `write_plugin` wrote."""
    return f"stella_plugin_test_{provider_type.replace('-', '_')}"


def write_plugin(
    folder: Path,
    provider_type: str = "example",
    *,
    manifest: str | None = None,
    package: str | None = None,
    code: str | None = None,
    answer: str = "first",
) -> Path:
    """Write a plugin whose class is found and works; `answer` tells two versions apart."""
    package = package or package_of(provider_type)
    (folder / package).mkdir(parents=True)
    (folder / "plugin.toml").write_text(
        a_manifest(provider_type, package=package) if manifest is None else manifest
    )
    (folder / package / "__init__.py").write_text('"""A plugin."""\n')
    (folder / package / "plugin.py").write_text(
        HEALTHY_PLUGIN.format(provider_type=provider_type, answer=answer) if code is None else code
    )
    return folder
