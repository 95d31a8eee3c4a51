"""Health and configuration of a Jenkins controller."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from stella_contracts.answers import answer_of
from stella_contracts.capabilities import Listed, ListedPage, ListsProjects, PageRequest
from stella_contracts.endpoints import Endpoint
from stella_contracts.failures import raise_for_status
from stella_contracts.health import ErrorCode, HealthResult
from stella_contracts.integrations import Connection
from stella_contracts.logins import basic_login_of
from stella_contracts.plugin import (
    CheckFailed,
    IntegrationConfig,
    IntegrationPlugin,
    PluginContext,
    Secret,
    ValidationResult,
)
from stella_contracts.problems import problems_of
from stella_plugin_jenkins.report import Agents, Controller, Jobs, WhoAmI, judged

_NAME = "Jenkins"


def root_of(endpoint: str) -> str:
    """
    The root URL of a controller, below whose every page there is an API.

    Raises ValueError, whose text never repeats the input.
    """
    parsed = Endpoint.parse(endpoint)
    # As people copy it from a description of the API.
    return parsed.origin + parsed.path.removesuffix("/api/json").removesuffix("/api").rstrip("/")


class JenkinsSettings(BaseModel):
    # An endpoint that is refused may hold a password.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    root: Annotated[str, AfterValidator(root_of)] = Field(alias="endpoint")


class JenkinsPlugin:
    provider_type: ClassVar[str] = "jenkins"

    async def validate_config(self, config: Mapping[str, Any]) -> ValidationResult:
        try:
            settings = JenkinsSettings.model_validate(config)
        except ValidationError as error:
            return ValidationResult(problems=problems_of(error))
        return ValidationResult(connection=Connection(api_root=settings.root))

    async def check_health(
        self, integration: IntegrationConfig, context: PluginContext
    ) -> HealthResult:
        settings = JenkinsSettings.model_validate(integration.settings)
        jenkins = _Jenkins(settings.root, context.http, context.secret)

        with context.steps.step("authenticate"):
            await jenkins.log_in()
        with context.steps.step("request"):
            controller = await jenkins.get("/api/json", tree="mode,quietingDown")
            raise_for_status(controller)
            found = answer_of(controller, Controller, _NAME)
        with context.steps.step("agents"):
            agents = await jenkins.find_agents()
        return judged(found, agents)

    async def list_projects(
        self, integration: IntegrationConfig, context: PluginContext, page: PageRequest
    ) -> ListedPage:
        """The jobs and folders at the top; the cursor is how many came before."""
        start = page.numbered_from(0)
        settings = JenkinsSettings.model_validate(integration.settings)
        jenkins = _Jenkins(settings.root, context.http, context.secret)
        # One more than is wanted, which tells whether there are more.
        tree = f"jobs[fullName,url]{{{start},{start + page.limit + 1}}}"
        response = await jenkins.get("/api/json", tree=tree)
        raise_for_status(response)
        found = answer_of(response, Jobs, _NAME).jobs
        return ListedPage(
            items=[
                Listed(id=each.full_name, name=each.full_name, url=each.url)
                for each in found[: page.limit]
            ],
            next_cursor=str(start + page.limit) if len(found) > page.limit else None,
        )


class _Jenkins:
    """A controller, as one user sees it."""

    def __init__(self, root: str, http: httpx.AsyncClient, secret: Secret | None) -> None:
        self._root = root
        self._http = http
        self._login = basic_login_of(secret) if secret else None

    async def log_in(self) -> None:
        # Of all pages the one that nobody is kept from, so that it tells a wrong login from one
        # that may not read. Jenkins answers 401 to a wrong one everywhere.
        response = await self.get("/whoAmI/api/json")
        raise_for_status(response)
        who = answer_of(response, WhoAmI, _NAME)
        if self._login is not None and (who.anonymous or not who.authenticated):
            raise CheckFailed(ErrorCode.AUTH_REJECTED, "Jenkins takes the user for a stranger")

    async def find_agents(self) -> Agents | None:
        """None if the user may not see them."""
        response = await self.get("/computer/api/json", tree="computer[offline,temporarilyOffline]")
        if response.status_code in (httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND):
            return None
        raise_for_status(response)
        return answer_of(response, Agents, _NAME)

    async def get(self, path: str, **query: str) -> httpx.Response:
        return await self._http.get(
            f"{self._root}{path}",
            params=query,
            headers={"Accept": "application/json"},
            auth=self._login,
        )


# Lets the type checker compare the class with the interface.
_: type[IntegrationPlugin] = JenkinsPlugin
_lists: type[ListsProjects] = JenkinsPlugin
