"""A plugin under test, with what a host would lend it."""

import asyncio
import importlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from stella_contracts.failures import failure_of, result_of
from stella_contracts.health import HealthResult
from stella_contracts.manifest import Manifest
from stella_contracts.plugin import (
    CheckFailed,
    IntegrationConfig,
    IntegrationPlugin,
    PluginContext,
    Secret,
)

CANARY = "canary6f1e"
"""Part of every secret value that the suite lends a plugin."""

PATIENCE_SECONDS = 10.0


class NotConforming(AssertionError):
    """What the plugin does that it must not."""


class RecordingLog:
    """A Logger that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[tuple[str, Mapping[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        self.records.append((event, fields))

    info = warning = debug


def an_integration(
    plugin: IntegrationPlugin, config: Mapping[str, Any], *, checks_before: int = 0
) -> IntegrationConfig:
    """The integration of a check."""
    return IntegrationConfig(
        integration_id=UUID(int=1),
        provider_type=plugin.provider_type,
        settings=config,
        checks_before=checks_before,
    )


def a_context(http: httpx.AsyncClient, secret: Secret | None = None) -> PluginContext:
    """What a host would lend, with a RecordingLog. Call it in a running loop."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    return PluginContext(http=http, log=RecordingLog(), deadline=deadline, secret=secret)


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one check."""

    result: HealthResult
    """As a host records it, whether it was returned or raised."""

    told: str
    """All the text that the plugin let out: results, messages, steps, logs."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The plugin under test."""

    manifest: Manifest
    plugin: IntegrationPlugin
    secret: Secret

    @classmethod
    def load(cls, folder: Path) -> "Subject":
        """Import the plugin that lies in a folder, as its manifest says."""
        manifest = Manifest.read((folder / "plugin.toml").read_bytes())
        module, _, name = manifest.entry_point.partition(":")
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        plugin = getattr(importlib.import_module(module), name)()
        fields = {name: f"{CANARY}-{name}" for name in manifest.secret_fields}
        return cls(manifest, plugin, Secret(fields or {"value": f"{CANARY}-name:{CANARY}-word"}))

    @property
    def examples(self) -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = self.manifest.config_schema.get("examples", ())
        require(bool(found), "has no `examples` in its config schema to be tested with")
        return found

    async def check(self, transport: httpx.AsyncBaseTransport) -> Found:
        """
        Check the first example. Raises NotConforming for an exception that no plugin may
        raise.
        """
        integration = an_integration(self.plugin, self.examples[0])
        async with httpx.AsyncClient(transport=transport) as http:
            context = a_context(http, self.secret)
            with _logged() as lines:
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        result = await self.plugin.check_health(integration, context)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    result = result_of(failure_of(error))
                except CheckFailed as error:
                    result = result_of(error)
                except Exception as error:
                    raise NotConforming(
                        f"raises {type(error).__name__}; a plugin raises CheckFailed and"
                        " lets errors of httpx escape"
                    ) from error
        assert isinstance(context.log, RecordingLog)  # noqa: S101 - for the type checker
        told = [result.model_dump_json(), repr(result), repr(self.plugin), repr(vars(self.plugin))]
        return Found(
            result, "\n".join([*told, *lines, repr(context.steps.taken), repr(context.log.records)])
        )


def require(conforms: bool, otherwise: str) -> None:
    """Raise NotConforming, which says what the plugin does, unless it conforms."""
    if not conforms:
        raise NotConforming(f"The plugin {otherwise}.")


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def _logged() -> Iterator[list[str]]:
    """The lines that go to the standard log meanwhile, at every level."""
    root, handler = logging.getLogger(), _Lines()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    try:
        yield handler.lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
