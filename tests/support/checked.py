"""One check of a plugin as a host makes it: with canned answers, or by the real way out."""

from collections.abc import Mapping
from dataclasses import dataclass
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
)
from stella_contracts.testing import RecordingLog, a_context
from stella_runtime.egress import open_egress

PLUGINS = Path(__file__).parents[2] / "plugins"
LOOPBACK = [ip_network("127.0.0.0/8")]


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


async def checked(
    plugin: IntegrationPlugin,
    config: Mapping[str, Any],
    secret: Secret | None = None,
    *,
    transport: httpx.AsyncBaseTransport,
    integration: int = 1,
) -> Checked:
    """Check an integration of that number, whose provider is the transport."""
    async with httpx.AsyncClient(transport=transport) as http:
        return await _check(plugin, config, a_context(http, secret), integration)


async def checked_for_real(
    plugin: IntegrationPlugin,
    config: Mapping[str, Any],
    secret: Secret | None = None,
    *,
    authorities: str | None = None,
) -> Checked:
    """
    Check a provider on the loopback address through the egress guard.

    `authorities` are the certificates (PEM) to trust.
    """
    manifest = Manifest.read((PLUGINS / plugin.provider_type / "plugin.toml").read_bytes())
    async with open_egress(LOOPBACK, authorities=authorities) as egress:
        lent = a_context(httpx.AsyncClient(), secret)
        await lent.http.aclose()
        context = PluginContext(
            http=egress.client(manifest, config, lent.steps, tenant_id="acme"),
            log=lent.log,
            deadline=lent.deadline,
            secret=secret,
            steps=lent.steps,
        )
        return await _check(plugin, config, context, 1)


async def _check(
    plugin: IntegrationPlugin, config: Mapping[str, Any], context: PluginContext, integration: int
) -> Checked:
    validated = await plugin.validate_config(config)
    assert not validated.problems
    asked = IntegrationConfig(
        integration_id=UUID(int=integration),
        provider_type=plugin.provider_type,
        settings=config,
        connection=validated.connection,
    )
    try:
        result = await plugin.check_health(asked, context)
    except CheckFailed as failure:
        result = result_of(failure)
    except httpx.HTTPError as error:
        result = result_of(failure_of(error))
    return Checked(result, context)
