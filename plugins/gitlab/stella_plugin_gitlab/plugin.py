"""Health and configuration of a GitLab."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stella_contracts.capabilities import (
    ListedPage,
    ListsProjects,
    PageRequest,
    SetsUpWebhook,
    WebhookRequest,
    WebhookSetUp,
)
from stella_contracts.health import ErrorCode, HealthResult
from stella_contracts.integrations import Connection
from stella_contracts.plugin import (
    IntegrationConfig,
    IntegrationPlugin,
    PluginContext,
    ValidationResult,
)
from stella_contracts.problems import problems_of
from stella_plugin_gitlab.api_root import api_root_of
from stella_plugin_gitlab.gitlab import NO_SCOPE, GitLab
from stella_plugin_gitlab.projects import list_projects, set_up_webhook


class GitLabSettings(BaseModel):
    # An endpoint that is refused may hold a password.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    api_root: Annotated[str, AfterValidator(api_root_of)] = Field(alias="endpoint")


class GitLabPlugin:
    provider_type: ClassVar[str] = "gitlab"

    async def validate_config(self, config: Mapping[str, Any]) -> ValidationResult:
        try:
            settings = GitLabSettings.model_validate(config)
        except ValidationError as error:
            return ValidationResult(problems=problems_of(error))
        return ValidationResult(connection=Connection(api_root=settings.api_root))

    async def check_health(
        self, integration: IntegrationConfig, context: PluginContext
    ) -> HealthResult:
        gitlab = _gitlab(integration, context)

        with context.steps.step("authenticate"):
            token = await gitlab.find_token()
        with context.steps.step("request"):
            answers = await gitlab.tells_its_version(may_be_refused=token is not None)
        ends_at = token.ends_at if token else None
        if not answers or (token and not token.may_read):
            return HealthResult.degraded(ErrorCode.PERMISSION_MISSING, NO_SCOPE).model_copy(
                update={"credential_expires_at": ends_at}
            )
        return HealthResult.healthy(credential_expires_at=ends_at)

    async def list_projects(
        self, integration: IntegrationConfig, context: PluginContext, page: PageRequest
    ) -> ListedPage:
        return await list_projects(_gitlab(integration, context), page)

    async def setup_webhook(
        self, integration: IntegrationConfig, context: PluginContext, webhook: WebhookRequest
    ) -> WebhookSetUp:
        return await set_up_webhook(_gitlab(integration, context), webhook)


def _gitlab(integration: IntegrationConfig, context: PluginContext) -> GitLab:
    root = GitLabSettings.model_validate(integration.settings).api_root
    return GitLab(root, context.http, context.secret)


# Lets the type checker compare the class with the interface.
_: type[IntegrationPlugin] = GitLabPlugin
_lists: type[ListsProjects] = GitLabPlugin
_sets_up: type[SetsUpWebhook] = GitLabPlugin
