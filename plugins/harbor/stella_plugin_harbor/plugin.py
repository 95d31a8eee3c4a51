"""Health and configuration of a Harbor registry."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stella_contracts.answers import answer_of
from stella_contracts.capabilities import (
    ListedPage,
    ListsProjects,
    ListsRepositories,
    PageRequest,
)
from stella_contracts.failures import raise_for_status
from stella_contracts.health import ErrorCode, HealthResult, HealthStatus, StepResult
from stella_contracts.integrations import Connection
from stella_contracts.logins import basic_login_of
from stella_contracts.plugin import (
    CheckFailed,
    IntegrationConfig,
    IntegrationPlugin,
    PluginContext,
    ValidationResult,
)
from stella_contracts.problems import problems_of
from stella_plugin_harbor.api_root import api_root_of
from stella_plugin_harbor.listing import list_projects, list_repositories
from stella_plugin_harbor.report import CurrentUser, HealthReport, SystemInfo

_NAME = "Harbor"
_JSON = {"Accept": "application/json"}


class HarborSettings(BaseModel):
    # An endpoint that is refused may hold a password.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    api_root: Annotated[str, AfterValidator(api_root_of)] = Field(alias="endpoint")


class HarborPlugin:
    provider_type: ClassVar[str] = "harbor"

    async def validate_config(self, config: Mapping[str, Any]) -> ValidationResult:
        try:
            settings = HarborSettings.model_validate(config)
        except ValidationError as error:
            return ValidationResult(problems=problems_of(error))
        return ValidationResult(connection=Connection(api_root=settings.api_root))

    async def check_health(
        self, integration: IntegrationConfig, context: PluginContext
    ) -> HealthResult:
        root, login = _root_of(integration), _login_of(context)

        with context.steps.step("request"):
            result = await _reported_health(root, context.http)
        # With its database down Harbor refuses every login: that would blame the credential.
        if login is None or result.status is HealthStatus.UNHEALTHY:
            context.steps.add("authenticate", StepResult.SKIPPED)
            return result
        with context.steps.step("authenticate"):
            await _log_in(root, context.http, login)
        with context.steps.step("system_info"):
            read_only = await _is_read_only(root, context.http, login)
        if read_only and result.status is HealthStatus.HEALTHY:
            return HealthResult.degraded(ErrorCode.REMOTE_ERROR, "Harbor is in read-only mode")
        return result

    async def list_projects(
        self, integration: IntegrationConfig, context: PluginContext, page: PageRequest
    ) -> ListedPage:
        root, login = _root_of(integration), _login_of(context)
        return await list_projects(root, context.http, login, page)

    async def list_repositories(
        self, integration: IntegrationConfig, context: PluginContext, page: PageRequest
    ) -> ListedPage:
        root, login = _root_of(integration), _login_of(context)
        return await list_repositories(root, context.http, login, page)


def _root_of(integration: IntegrationConfig) -> str:
    known = integration.connection and integration.connection.api_root
    return known or HarborSettings.model_validate(integration.settings).api_root


def _login_of(context: PluginContext) -> httpx.BasicAuth | None:
    return basic_login_of(context.secret) if context.secret else None


async def _reported_health(root: str, http: httpx.AsyncClient) -> HealthResult:
    response = await http.get(f"{root}/health", headers=_JSON)
    raise_for_status(response)
    return answer_of(response, HealthReport, _NAME).result


async def _log_in(root: str, http: httpx.AsyncClient, login: httpx.BasicAuth) -> None:
    # Not one of the routes that list things: to them, a wrong credential is an anonymous
    # visitor, who gets a 200 and what is public.
    response = await http.get(f"{root}/users/current", headers=_JSON, auth=login)
    # Harbor's answer to a robot that is logged in.
    if response.status_code == httpx.codes.PRECONDITION_FAILED:
        return
    if response.status_code == httpx.codes.UNAUTHORIZED:
        # All alike to Harbor: see src/server/middleware/security/robot.go.
        raise CheckFailed(
            ErrorCode.AUTH_REJECTED, "HTTP 401: The robot or user is unknown, disabled or expired"
        )
    raise_for_status(response)
    answer_of(response, CurrentUser, _NAME)


async def _is_read_only(root: str, http: httpx.AsyncClient, login: httpx.BasicAuth) -> bool:
    response = await http.get(f"{root}/systeminfo", headers=_JSON, auth=login)
    raise_for_status(response)
    return answer_of(response, SystemInfo, _NAME).read_only is True


# Lets the type checker compare the class with the interface.
_: type[IntegrationPlugin] = HarborPlugin
_projects: type[ListsProjects] = HarborPlugin
_repositories: type[ListsRepositories] = HarborPlugin
