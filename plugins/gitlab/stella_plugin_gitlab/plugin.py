"""Health and configuration of a GitLab."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stella_contracts.answers import answer_of
from stella_contracts.failures import RateLimited, raise_for_status, retry_after
from stella_contracts.health import ErrorCode, HealthResult
from stella_contracts.integrations import Connection
from stella_contracts.plugin import (
    CheckFailed,
    IntegrationConfig,
    IntegrationPlugin,
    PluginContext,
    Secret,
    ValidationResult,
)
from stella_contracts.problems import problems_of
from stella_plugin_gitlab.api_root import api_root_of
from stella_plugin_gitlab.tokens import AccessToken, Refusal, Version

_NAME = "GitLab"
_NO_SCOPE = "The token lacks the scope read_api or api, so projects cannot be listed"


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
        root = GitLabSettings.model_validate(integration.settings).api_root
        gitlab = _GitLab(root, context.http, context.secret)

        with context.steps.step("authenticate"):
            token = await gitlab.find_token()
        with context.steps.step("request"):
            answers = await gitlab.tells_its_version(may_be_refused=token is not None)
        ends_at = token.ends_at if token else None
        if not answers or (token and not token.may_read):
            return HealthResult.degraded(ErrorCode.PERMISSION_MISSING, _NO_SCOPE).model_copy(
                update={"credential_expires_at": ends_at}
            )
        return HealthResult.healthy(credential_expires_at=ends_at)


class _GitLab:
    """A GitLab, as one who has a token sees it."""

    def __init__(self, root: str, http: httpx.AsyncClient, secret: Secret | None) -> None:
        if secret is None:
            raise CheckFailed(
                ErrorCode.MISCONFIGURED, "GitLab's API wants a token. Refer to one in authRefUri"
            )
        self._root = root
        self._http = http
        # Not PRIVATE-TOKEN: that takes no tokens of OAuth, and this takes both.
        self._headers = {"Authorization": f"Bearer {secret.value}", "Accept": "application/json"}

    async def find_token(self) -> AccessToken | None:
        """
        What GitLab knows of the token, whatever its scopes; None for a token of OAuth, and from
        a GitLab before 15.5, which do not tell.
        """
        response = await self._get("/personal_access_tokens/self")
        if response.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND):
            return None
        _raise_for_status(response)
        token = answer_of(response, AccessToken, _NAME)
        if token.revoked or not token.active:
            raise CheckFailed(ErrorCode.AUTH_REJECTED, "The token is revoked or has expired")
        return token

    async def tells_its_version(self, *, may_be_refused: bool) -> bool:
        """False if a token that is known to be good has too narrow a scope to ask."""
        response = await self._get("/version")
        if may_be_refused and response.status_code == httpx.codes.FORBIDDEN:
            return False
        _raise_for_status(response)
        answer_of(response, Version, _NAME)
        return True

    async def _get(self, path: str) -> httpx.Response:
        return await self._http.get(f"{self._root}{path}", headers=self._headers)


def _raise_for_status(response: httpx.Response) -> None:
    """Raise CheckFailed, as GitLab means it, unless the answer is a success."""
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise RateLimited(retry_after(response, reset_header="RateLimit-Reset"))
    if response.status_code == httpx.codes.FORBIDDEN and _lacks_scope(response):
        raise CheckFailed(ErrorCode.PERMISSION_MISSING, f"HTTP 403: {_NO_SCOPE}")
    raise_for_status(response)


def _lacks_scope(response: httpx.Response) -> bool:
    try:
        return Refusal.model_validate_json(response.content).error == "insufficient_scope"
    except ValidationError:
        return False


# Lets the type checker compare the class with the interface.
_: type[IntegrationPlugin] = GitLabPlugin
