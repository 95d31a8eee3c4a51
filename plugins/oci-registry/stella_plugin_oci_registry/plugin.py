"""Health and configuration of any registry of the OCI distribution specification."""

from collections.abc import Mapping
from typing import Any, ClassVar

import httpx
from pydantic import ValidationError

from stella_contracts.capabilities import ListedPage, ListsRepositories, PageRequest
from stella_contracts.failures import raise_for_status
from stella_contracts.health import ErrorCode, HealthResult, StepResult
from stella_contracts.integrations import Connection
from stella_contracts.plugin import (
    CheckFailed,
    IntegrationConfig,
    IntegrationPlugin,
    PluginContext,
    ValidationResult,
)
from stella_contracts.problems import problems_of
from stella_plugin_oci_registry.catalog import list_repositories
from stella_plugin_oci_registry.challenges import challenges_of
from stella_plugin_oci_registry.registry import Registry, is_of_registry
from stella_plugin_oci_registry.settings import RegistrySettings

_VERSION_CHECK = "/"
_NO_SUCH_REPOSITORY = "/stella-ops/no-such-repository/tags/list"


class OciRegistryPlugin:
    provider_type: ClassVar[str] = "oci-registry"

    async def validate_config(self, config: Mapping[str, Any]) -> ValidationResult:
        try:
            settings = RegistrySettings.model_validate(config)
        except ValidationError as error:
            return ValidationResult(problems=problems_of(error))
        return ValidationResult(connection=Connection(api_root=settings.api_root))

    async def check_health(
        self, integration: IntegrationConfig, context: PluginContext
    ) -> HealthResult:
        settings = RegistrySettings.model_validate(integration.settings)
        registry = Registry(settings, context.http, context.secret)

        with context.steps.step("request"):
            answer = await registry.get(_VERSION_CHECK)
            is_refused = answer.status_code == httpx.codes.UNAUTHORIZED
            if not is_refused:
                raise_for_status(answer)
        known = is_of_registry(answer)
        credential: Mapping[str, str] = {}
        # Where everybody may read, a credential that is wrong is still refused.
        if is_refused or context.secret:
            with context.steps.step("authenticate"):
                credential = await registry.credential_for(answer)
                answer = await registry.get(_VERSION_CHECK, credential)
                _check_login(answer)
        else:
            context.steps.add("authenticate", StepResult.SKIPPED)
        if not (known or is_of_registry(answer)):
            with context.steps.step("recognise"):
                await _recognise(registry, credential)
        return HealthResult.healthy()

    async def list_repositories(
        self, integration: IntegrationConfig, context: PluginContext, page: PageRequest
    ) -> ListedPage:
        settings = RegistrySettings.model_validate(integration.settings)
        return await list_repositories(Registry(settings, context.http, context.secret), page)


def _check_login(answer: httpx.Response) -> None:
    """Raise CheckFailed unless the credential is accepted."""
    errors = [each.parameters.get("error") for each in challenges_of(answer)]
    if answer.status_code == httpx.codes.UNAUTHORIZED and "insufficient_scope" in errors:
        raise CheckFailed(
            ErrorCode.PERMISSION_MISSING, "HTTP 401: The credential lacks a permission"
        )
    raise_for_status(answer)


async def _recognise(registry: Registry, credential: Mapping[str, str]) -> None:
    """
    Ask for what no registry has: a registry says so in its own form.

    Its greeting may be empty, as that of any other web server.
    """
    answer = await registry.get(_NO_SUCH_REPOSITORY, credential)
    if is_of_registry(answer):
        return
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
        raise_for_status(answer)
    raise CheckFailed(ErrorCode.BAD_RESPONSE, "The answer is not one of a registry's API")


# Lets the type checker compare the class with the interface.
_: type[IntegrationPlugin] = OciRegistryPlugin
_lists: type[ListsRepositories] = OciRegistryPlugin
