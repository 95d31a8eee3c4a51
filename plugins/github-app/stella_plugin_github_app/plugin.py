"""Health and configuration of an installation of a GitHub App."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

import httpx
from pydantic import ValidationError

from stella_contracts.answers import answer_of
from stella_contracts.capabilities import (
    ListedPage,
    ListsRepositories,
    PageRequest,
    SetsUpWebhook,
    WebhookRequest,
    WebhookSetUp,
)
from stella_contracts.failures import RETRY_AFTER_LIMIT_SECONDS, RateLimited
from stella_contracts.health import ErrorCode, HealthResult
from stella_contracts.integrations import Connection
from stella_contracts.plugin import (
    CheckFailed,
    IntegrationConfig,
    IntegrationPlugin,
    PluginContext,
    ValidationResult,
)
from stella_contracts.problems import problems_of
from stella_plugin_github_app.answers import NAME, App, RateLimit, date_of, raise_for_github
from stella_plugin_github_app.github import GitHub
from stella_plugin_github_app.private_key import AppKey
from stella_plugin_github_app.repositories import list_repositories, set_up_webhook
from stella_plugin_github_app.settings import GitHubAppSettings
from stella_plugin_github_app.tokens import InstallationTokens

FEW = 0.1
"""The part of the rate limit below which an installation is degraded."""


class GitHubAppPlugin:
    provider_type: ClassVar[str] = "github-app"

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        tokens: InstallationTokens | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._now = now
        # All that is kept from call to call: GitHub wants tokens to be used until they end.
        self._tokens = tokens or InstallationTokens()
        self._sleep = sleep

    async def validate_config(self, config: Mapping[str, Any]) -> ValidationResult:
        try:
            settings = GitHubAppSettings.model_validate(config)
        except ValidationError as error:
            return ValidationResult(problems=problems_of(error))
        return ValidationResult(connection=Connection(api_root=settings.api_root))

    async def check_health(
        self, integration: IntegrationConfig, context: PluginContext
    ) -> HealthResult:
        github = self._github(integration, context)
        with context.steps.step("app"):
            response = await github.as_app("GET", "/app")
            raise_for_github(response)
            answer_of(response, App, NAME)
        with context.steps.step("rate_limit"):
            response = await github.as_installation("GET", "/rate_limit", context.steps)
            result = _judged(response)
        if github.clock_ahead_seconds:
            return HealthResult.degraded(
                ErrorCode.MISCONFIGURED, _about_the_clock(github.clock_ahead_seconds)
            )
        return result

    async def list_repositories(
        self, integration: IntegrationConfig, context: PluginContext, page: PageRequest
    ) -> ListedPage:
        return await list_repositories(self._github(integration, context), context.steps, page)

    async def setup_webhook(
        self, integration: IntegrationConfig, context: PluginContext, webhook: WebhookRequest
    ) -> WebhookSetUp:
        return await set_up_webhook(self._github(integration, context), context.steps, webhook)

    def _github(self, integration: IntegrationConfig, context: PluginContext) -> GitHub:
        if context.secret is None:
            raise CheckFailed(
                ErrorCode.MISCONFIGURED, "An App needs its private key. Refer to it in authRefUri"
            )
        settings = GitHubAppSettings.model_validate(integration.settings)
        key = AppKey(context.secret)
        return GitHub(settings, key, context.http, self._tokens, self._now, self._sleep)


def _judged(response: httpx.Response) -> HealthResult:
    # An Enterprise Server that limits nothing.
    if response.status_code == httpx.codes.NOT_FOUND:
        return HealthResult.healthy()
    raise_for_github(response)
    core = answer_of(response, RateLimit, NAME).resources.core
    if core.remaining <= 0:
        there = date_of(response)
        pause = core.reset - (there.timestamp() if there else time.time())
        raise RateLimited(min(max(pause, 0.0), RETRY_AFTER_LIMIT_SECONDS))
    if core.remaining < core.limit * FEW:
        return HealthResult.degraded(
            ErrorCode.RATE_LIMITED,
            f"{core.remaining} of {core.limit} requests are left of the rate limit",
        )
    return HealthResult.healthy()


def _about_the_clock(ahead: float) -> str:
    direction = "ahead of" if ahead > 0 else "behind"
    return f"The clock of this hub is {abs(ahead):.0f} s {direction} GitHub's"


# Lets the type checker compare the class with the interface.
_: type[IntegrationPlugin] = GitHubAppPlugin
_lists: type[ListsRepositories] = GitHubAppPlugin
_sets_up: type[SetsUpWebhook] = GitHubAppPlugin
