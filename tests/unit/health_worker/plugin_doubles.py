"""A prober whose plugin does what the test says, and an integration for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from uuid import UUID

import httpx

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import PluginUnavailable, SecretUnavailable
from stella_contracts.health import CheckTrigger, ErrorCode, HealthResult, HealthStatus
from stella_contracts.integrations import Connection
from stella_contracts.manifest import Manifest
from stella_contracts.plugin import (
    IntegrationConfig,
    IntegrationPlugin,
    PluginContext,
    Secret,
    Steps,
    ValidationResult,
)
from stella_health_worker.credentials import Secrets
from stella_health_worker.prober import Prober
from stella_runtime.persistence.scheduling import Outcome, Target
from stella_runtime.secrets import Reader

Behaviour = Callable[[IntegrationConfig, PluginContext], Awaitable[Any]]

KNOWN = Connection(api_root="https://harbor.test/api/v2.0")
SECRET = "hunter2hunter2"

TARGET = Target(
    check_id=UUID(int=1),
    trigger=CheckTrigger.SCHEDULE,
    integration_id=UUID(int=2),
    tenant_id="acme",
    provider_type="harbor",
    config={"endpoint": "https://harbor.test"},
    auth_ref_uri=None,
    timeout_seconds=5,
    version=3,
    checks_before=7,
    connection=KNOWN,
    lease_token=11,
)
WITH_SECRET = replace(TARGET, auth_ref_uri="authref://vault/ci/harbor")
FIRST = replace(TARGET, connection=None)
SHORT = replace(TARGET, timeout_seconds=0)


class Plugin:
    """Does what the test says."""

    provider_type: ClassVar[str] = "harbor"

    def __init__(self, behave: Behaviour, validated: object) -> None:
        self._behave = behave
        self._validated = validated

    async def check_health(
        self, integration: IntegrationConfig, context: PluginContext
    ) -> HealthResult:
        result: HealthResult = await self._behave(integration, context)
        return result

    async def validate_config(self, config: Mapping[str, Any]) -> ValidationResult:
        if isinstance(self._validated, Exception):
            raise self._validated
        assert config == TARGET.config
        return self._validated  # type: ignore[return-value]  # a plugin may return anything


@dataclass(frozen=True, slots=True)
class Loaded:
    plugin: IntegrationPlugin
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Host:
    loaded: Loaded | None

    async def get(self, provider_type: str) -> Loaded:
        if self.loaded is None:
            raise PluginUnavailable(f"No plugin provides {provider_type!r}.")
        return self.loaded


class Vault:
    async def resolve(self, reference: AuthRef, *, reader: Reader, fresh: bool = False) -> Secret:
        if reference.path != "ci/harbor":
            raise SecretUnavailable("The vault has no such secret.")
        return Secret({"value": SECRET})


class NoEgress:
    def client(
        self, manifest: Manifest, settings: Mapping[str, Any], steps: Steps, *, tenant_id: str
    ) -> httpx.AsyncClient:
        assert (manifest.provider_type, settings) == ("harbor", TARGET.config)
        assert tenant_id == TARGET.tenant_id
        return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200)))


async def healthy(_: IntegrationConfig, __: PluginContext) -> HealthResult:
    return HealthResult.healthy()


def returning(result: object) -> Behaviour:
    async def behave(_: IntegrationConfig, __: PluginContext) -> object:
        return result

    return behave


def raising(error: BaseException) -> Behaviour:
    async def behave(_: IntegrationConfig, context: PluginContext) -> object:
        with context.steps.step("request"):
            raise error

    return behave


async def hanging(_: IntegrationConfig, context: PluginContext) -> None:
    with context.steps.step("request"):
        await asyncio.Event().wait()


def a_prober(
    behave: Behaviour = healthy,
    *,
    validated: object = None,
    secret_fields: list[str] | None = None,
    secrets: Secrets | None = None,
    crashed: Callable[[str], None] = lambda _: None,
) -> Prober:
    manifest = Manifest(
        id="harbor",
        provider_type="harbor",
        version="1.0.0",
        api_version=1,
        entry_point="stella_plugin_harbor.plugin:HarborPlugin",
        config_schema={},
        secret_fields=secret_fields or [],
    )
    loaded = Loaded(Plugin(behave, validated or ValidationResult()), manifest)
    return Prober(
        plugins=Host(loaded),
        secrets=secrets or Vault(),
        egress=NoEgress(),
        worker="worker-1",
        grace_seconds=0.05,
        crashed=crashed,
    )


async def probe(behave: Behaviour = healthy, target: Target = TARGET, **given: Any) -> Outcome:
    return await a_prober(behave, **given).probe(target)


def finding(outcome: Outcome) -> tuple[HealthStatus, ErrorCode | None, str | None]:
    return outcome.result.status, outcome.result.error_code, outcome.result.error_message


def steps(outcome: Outcome) -> list[tuple[str, str]]:
    return [(step.name, step.result.value) for step in outcome.steps]
