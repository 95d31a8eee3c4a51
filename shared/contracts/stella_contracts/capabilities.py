"""
What a plugin can do beyond checks: small interfaces, each named in a manifest's `capabilities`.

A plugin has the methods of the capabilities that it names, and the same context as a check: errors
of httpx and CheckFailed escape, and get their codes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator, Field

from stella_contracts.health import ErrorCode
from stella_contracts.model import Answer
from stella_contracts.plugin import CheckFailed, IntegrationConfig, PluginContext

PAGE_LIMIT = 100


def _web_address(value: Any) -> str | None:
    # Clients make links of it.
    is_web = isinstance(value, str) and value.startswith(("https://", "http://"))
    return value if is_web and len(value) <= 2000 else None


WebAddress = Annotated[str | None, BeforeValidator(_web_address)]


class Listed(Answer):
    """A repository, a project or a job, as its provider names it."""

    id: str = Field(max_length=500)
    name: str = Field(max_length=1000)
    """With all that is in front of it: `group/project`."""
    url: WebAddress = None


class ListedPage(Answer):
    """Some of them, and where the next ones begin."""

    items: list[Listed]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which of them are wanted."""

    cursor: str | None = None
    """What `next_cursor` of the page before said; None for the first."""

    limit: int = PAGE_LIMIT
    """From 1 to PAGE_LIMIT."""

    def numbered_from(self, first: int) -> int:
        """The cursor as a number, for providers that count. Raises CheckFailed for no number."""
        if self.cursor is None:
            return first
        if not (self.cursor.isascii() and self.cursor.isdigit() and len(self.cursor) <= 18):
            raise CheckFailed(ErrorCode.MISCONFIGURED, "The cursor is not one of this listing")
        return int(self.cursor)


class ListsRepositories(Protocol):
    """`list_repositories`: what of source or images the credential can see."""

    async def list_repositories(
        self, integration: IntegrationConfig, context: PluginContext, page: PageRequest
    ) -> ListedPage: ...


class ListsProjects(Protocol):
    """`list_projects`: what holds repositories, builds or images."""

    async def list_projects(
        self, integration: IntegrationConfig, context: PluginContext, page: PageRequest
    ) -> ListedPage: ...


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A webhook that the provider is to call."""

    target: str
    """The repository or project, by its name with all that is in front of it."""

    url: str
    secret: str = field(repr=False)
    """By which its calls are known to be the provider's."""

    events: Sequence[str] = ()
    """In the provider's words; what the plugin thinks useful if there are none."""


class WebhookOutcome(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    """There was one with this URL. Its secret is never shown, so it is always set anew."""


class WebhookSetUp(Answer):
    """What became of a request for a webhook."""

    outcome: WebhookOutcome


class SetsUpWebhook(Protocol):
    """`setup_webhook`: has the provider call a URL. Asked twice, there is one webhook."""

    async def setup_webhook(
        self, integration: IntegrationConfig, context: PluginContext, webhook: WebhookRequest
    ) -> WebhookSetUp: ...


METHOD_OF_CAPABILITY: Mapping[str, str] = {
    "health": "check_health",
    "list_repositories": "list_repositories",
    "list_projects": "list_projects",
    "setup_webhook": "setup_webhook",
}
"""The method that a plugin with a capability has."""
