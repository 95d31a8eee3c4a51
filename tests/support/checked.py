"""One check of a plugin as a host makes it: with canned answers, or by the real way out."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from stella_contracts.failures import failure_of, result_of
from stella_contracts.health import HealthResult, StepResult
from stella_contracts.manifest import Manifest
from stella_contracts.plugin import (
    CheckFailed,
    IntegrationConfig,
    IntegrationPlugin,
    PluginContext,
    Secret,
    Steps,
)
from stella_contracts.testing import RecordingLog, a_context
from stella_runtime.egress import open_egress

PLUGINS = Path(__file__).parents[2] / "plugins"
LOOPBACK = [ip_network("127.0.0.0/8")]

Lent = tuple[IntegrationConfig, PluginContext]


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check."""

    result: HealthResult
    """As a host records it, whether it was returned or raised."""

    context: PluginContext

    @property
    def finding(self) -> tuple[str, str | None]:
        return self.result.status.value, self.result.error_code and self.result.error_code.value

    @property
    def steps(self) -> Mapping[str, StepResult]:
        return {step.name: step.result for step in self.context.steps.taken}

    @property
    def told(self) -> str:
        """All the text that the plugin let out."""
        assert isinstance(self.context.log, RecordingLog)
        return f"{self.result!r} {self.context!r} {self.context.log.records}"


@asynccontextmanager
async def lending(
    plugin: IntegrationPlugin,
    config: Mapping[str, Any],
    secret: Secret | None = None,
    *,
    transport: httpx.AsyncBaseTransport,
) -> AsyncIterator[Lent]:
    """What a plugin is given for one call, of an integration whose provider is the transport."""
    async with httpx.AsyncClient(transport=transport) as http:
        yield await _asked(plugin, config), a_context(http, secret)


@asynccontextmanager
async def lending_for_real(
    plugin: IntegrationPlugin,
    config: Mapping[str, Any],
    secret: Secret | None = None,
    *,
    authorities: str | None = None,
) -> AsyncIterator[Lent]:
    """
    The same with a way out through the egress guard, to the loopback address.

    `authorities` are the certificates (PEM) to trust.
    """
    manifest = Manifest.read((PLUGINS / plugin.provider_type / "plugin.toml").read_bytes())
    async with open_egress(LOOPBACK, authorities=authorities) as egress:
        steps = Steps()
        context = replace(
            a_context(egress.client(manifest, config, steps, tenant_id="acme"), secret), steps=steps
        )
        yield await _asked(plugin, config), context


async def checked(
    plugin: IntegrationPlugin,
    config: Mapping[str, Any],
    secret: Secret | None = None,
    *,
    transport: httpx.AsyncBaseTransport,
) -> Checked:
    """Check an integration whose provider is the transport."""
    async with lending(plugin, config, secret, transport=transport) as lent:
        return await _check(plugin, *lent)


async def checked_for_real(
    plugin: IntegrationPlugin,
    config: Mapping[str, Any],
    secret: Secret | None = None,
    *,
    authorities: str | None = None,
) -> Checked:
    """Check a provider on the loopback address through the egress guard."""
    async with lending_for_real(plugin, config, secret, authorities=authorities) as lent:
        return await _check(plugin, *lent)


async def _asked(plugin: IntegrationPlugin, config: Mapping[str, Any]) -> IntegrationConfig:
    validated = await plugin.validate_config(config)
    assert not validated.problems
    return IntegrationConfig(
        integration_id=UUID(int=1),
        provider_type=plugin.provider_type,
        settings=config,
        connection=validated.connection,
    )


async def _check(
    plugin: IntegrationPlugin, integration: IntegrationConfig, context: PluginContext
) -> Checked:
    try:
        result = await plugin.check_health(integration, context)
    except CheckFailed as failure:
        result = result_of(failure)
    except httpx.HTTPError as error:
        result = result_of(failure_of(error))
    return Checked(result, context)
