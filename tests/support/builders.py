"""Bodies for the API, and a plugin for them to be of."""

from itertools import count
from typing import Any

from stella_contracts.manifest import Manifest
from stella_contracts.plugins import PluginState, PluginTrust
from stella_runtime.persistence.plugin_metadata import PluginRecord

_numbers = count(1)

REGISTRY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["endpoint", "project"],
    "properties": {
        "endpoint": {"type": "string", "pattern": "^https?://", "maxLength": 2000},
        "project": {"type": "string", "maxLength": 100},
        "insecure": {"type": "boolean"},
        "retries": {"type": "integer", "minimum": 0, "maximum": 9},
        "mirrors": {
            "type": "array",
            "items": {"type": "object", "required": ["url"]},
        },
        "labels": {"type": "object"},
    },
}


def a_config(**fields: Any) -> dict[str, Any]:
    """What the schema of `registry` accepts."""
    return {"endpoint": "https://registry.test", "project": "library"} | fields


def a_registration(**fields: Any) -> dict[str, Any]:
    """A body of `POST /integrations` that is accepted, under a name of its own."""
    return {
        "type": "registry",
        "name": f"registry-{next(_numbers)}",
        "config": a_config(),
    } | fields


def a_plugin(provider_type: str = "registry", **fields: Any) -> PluginRecord:
    """A plugin as discovery stores it."""
    manifest = Manifest(
        id=provider_type,
        provider_type=provider_type,
        version="1.0.0",
        api_version=1,
        entry_point="stella_plugin_registry.plugin:RegistryPlugin",
        config_schema=fields.pop("config_schema", REGISTRY_SCHEMA),
        default_interval_seconds=120,
        default_timeout_seconds=7,
    )
    values: dict[str, Any] = {
        "path": f"/plugins/{provider_type}",
        "plugin_id": provider_type,
        "trust": PluginTrust.BUILT_IN,
        "state": PluginState.READY,
        "digest": f"sha256:{provider_type}",
        "manifest": manifest,
    }
    return PluginRecord(**values | fields)
