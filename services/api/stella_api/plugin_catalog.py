"""What the API knows of plugins: their config schemas, remembered for a few seconds."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from stella_api.problems import pointer
from stella_contracts.errors import Problem, Rejected, UnknownProvider
from stella_contracts.plugins import Plugin, PluginState
from stella_runtime.persistence.plugin_metadata import PluginMetadata

GOOD_FOR_SECONDS = 5.0
MOST_PROBLEMS = 20


class PluginNotReady(Rejected):
    """A plugin of the type was found, and cannot be used."""

    code = "plugin_not_ready"

    def __init__(self, provider_type: str, reason: str) -> None:
        super().__init__(f"The plugin of {provider_type!r} cannot be used: {reason}")
        self.problems = [Problem("/type", "See lastError at GET /plugins.")]


@dataclass(frozen=True, slots=True)
class ProviderSchema:
    """What the manifest of a type says of its integrations."""

    validator: Draft202012Validator
    default_interval_seconds: int
    default_timeout_seconds: int

    def problems_of(self, config: Mapping[str, Any]) -> Sequence[Problem]:
        """Where a config breaks the schema. Messages never repeat a value."""
        found = (each for error in self.validator.iter_errors(config) for each in _problems(error))
        # A dict drops repetitions: jsonschema tells of each missing field by an error of its own.
        distinct = dict.fromkeys(found)
        return sorted(islice(distinct, MOST_PROBLEMS), key=lambda each: each.pointer)


class PluginCatalog:
    """The plugins of the installation, read from the database when they are needed."""

    def __init__(self) -> None:
        self._plugins: dict[str, Plugin] = {}
        self._unusable: dict[str, str] = {}
        self._schemas: dict[str, ProviderSchema] = {}
        self._read_at = float("-inf")

    async def schema_of(self, provider_type: str, stored: PluginMetadata) -> ProviderSchema:
        """Raises UnknownProvider, with the types that there are, or PluginNotReady."""
        plugins = await self._ready(stored)
        if provider_type not in plugins:
            # It may have been registered a moment ago.
            plugins = await self._ready(stored, at_once=True)
        plugin = plugins.get(provider_type)
        if plugin is None or plugin.config_schema is None:
            if provider_type in self._unusable:
                raise PluginNotReady(provider_type, self._unusable[provider_type])
            raise UnknownProvider(provider_type, sorted(plugins))
        key = plugin.digest or plugin.path
        if key not in self._schemas:
            self._schemas[key] = ProviderSchema(
                validator=Draft202012Validator(plugin.config_schema),
                default_interval_seconds=plugin.default_interval_seconds or 300,
                default_timeout_seconds=plugin.default_timeout_seconds or 10,
            )
        return self._schemas[key]

    async def is_provider(self, name: str, stored: PluginMetadata) -> bool:
        """Whether a plugin that can be used provides this type."""
        return name in await self._ready(stored)

    async def _ready(
        self, stored: PluginMetadata, *, at_once: bool = False
    ) -> Mapping[str, Plugin]:
        if at_once or time.monotonic() - self._read_at > GOOD_FOR_SECONDS:
            # By the caller's transaction: who holds a connection must not wait for a second one.
            found = await stored.list_all()
            self._plugins = {
                plugin.type: plugin
                for plugin in found
                if plugin.type is not None and plugin.state is PluginState.READY
            }
            self._unusable = {
                plugin.type: plugin.last_error or f"it is {plugin.state}"
                for plugin in found
                if plugin.type is not None and plugin.state is not PluginState.REMOVED
            }
            known = {plugin.digest or plugin.path for plugin in self._plugins.values()}
            self._schemas = {key: s for key, s in self._schemas.items() if key in known}
            self._read_at = time.monotonic()
        return self._plugins


def _problems(error: ValidationError) -> Iterator[Problem]:
    path: list[str | int] = ["config", *error.absolute_path]
    instance: Any = error.instance
    rule: Any = error.validator_value
    if error.validator == "required":
        for name in rule:
            if name not in instance:
                yield Problem(pointer([*path, name]), "It is required.")
    elif error.validator == "additionalProperties" and rule is False:
        schema: Any = error.schema
        known = sorted(schema.get("properties", {}))
        patterns = schema.get("patternProperties", {})
        for name in instance:
            if name not in known and not any(re.search(each, name) for each in patterns):
                listed = ", ".join(known) or "none"
                yield Problem(pointer([*path, name]), f"Unknown field. Known: {listed}.")
    else:
        yield Problem(pointer(path), _SAYS.get(str(error.validator), _generic)(error))


def _generic(error: ValidationError) -> str:
    return f"It breaks the rule {error.validator!r} of the plugin's config schema."


_SAYS = {
    "type": lambda error: f"It must be of type {error.validator_value}.",
    "enum": lambda error: f"It must be one of {error.validator_value}.",
    "pattern": lambda error: f"It must match {error.validator_value}.",
    "format": lambda error: f"It must be a {error.validator_value}.",
    "minLength": lambda error: f"It must have {error.validator_value} characters or more.",
    "maxLength": lambda error: f"It may have {error.validator_value} characters at most.",
    "minimum": lambda error: f"It must be {error.validator_value} or more.",
    "maximum": lambda error: f"It must be {error.validator_value} or less.",
    "minItems": lambda error: f"It must have {error.validator_value} items or more.",
    "maxItems": lambda error: f"It may have {error.validator_value} items at most.",
}
