"""The projects that a token can see, and their webhooks."""

from urllib.parse import quote

from pydantic import BaseModel, RootModel

from stella_contracts.answers import answer_of
from stella_contracts.capabilities import (
    Listed,
    ListedPage,
    PageRequest,
    WebhookOutcome,
    WebhookRequest,
    WebhookSetUp,
)
from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed
from stella_plugin_gitlab.gitlab import NAME, GitLab, raise_for_gitlab

HOOK_PAGES = 5
HOOKS_A_PAGE = 100
USEFUL_EVENTS = ["push_events", "tag_push_events", "merge_requests_events"]


class Project(BaseModel):
    # And no more of it: a project may come with the token of its runners.
    id: int
    path_with_namespace: str
    web_url: str | None = None


class Projects(RootModel[list[Project]]):
    """Body of `GET /projects`."""


class Hook(BaseModel):
    id: int
    url: str


class Hooks(RootModel[list[Hook]]):
    """Body of `GET /projects/{id}/hooks`."""


async def list_projects(gitlab: GitLab, page: PageRequest) -> ListedPage:
    """Those that the token is a member of, from one id to the next: the cursor is the last id."""
    query = {
        "membership": "true",
        "simple": "true",
        "archived": "false",
        "pagination": "keyset",
        "order_by": "id",
        "sort": "asc",
        "per_page": str(page.limit),
    }
    if page.cursor is not None:
        query["id_after"] = str(page.numbered_from(0))
    response = await gitlab.ask("GET", "/projects", query=query)
    raise_for_gitlab(response)
    found = answer_of(response, Projects, NAME).root
    return ListedPage(
        items=[
            Listed(id=str(each.id), name=each.path_with_namespace, url=each.web_url)
            for each in found
        ],
        next_cursor=str(found[-1].id) if len(found) >= page.limit else None,
    )


async def set_up_webhook(gitlab: GitLab, webhook: WebhookRequest) -> WebhookSetUp:
    """Have a project call a URL, once however often this is asked for."""
    if not webhook.target or {"", ".", ".."} & set(webhook.target.split("/")):
        raise CheckFailed(ErrorCode.MISCONFIGURED, "The target must be <group>/<project>")
    hooks = f"/projects/{quote(webhook.target, safe='')}/hooks"
    known = await _find_hook(gitlab, hooks, webhook.url)
    wanted: dict[str, object] = {
        "url": webhook.url,
        "token": webhook.secret,
        "enable_ssl_verification": True,
        **dict.fromkeys(webhook.events or USEFUL_EVENTS, True),
    }
    if known is None:
        response = await gitlab.ask("POST", hooks, body=wanted)
    else:
        response = await gitlab.ask("PUT", f"{hooks}/{known}", body=wanted)
    raise_for_gitlab(response)
    return WebhookSetUp(outcome=WebhookOutcome.CREATED if known is None else WebhookOutcome.UPDATED)


async def _find_hook(gitlab: GitLab, hooks: str, url: str) -> int | None:
    for number in range(1, HOOK_PAGES + 1):
        query = {"per_page": str(HOOKS_A_PAGE), "page": str(number)}
        response = await gitlab.ask("GET", hooks, query=query)
        raise_for_gitlab(response)
        found = answer_of(response, Hooks, NAME).root
        for hook in found:
            if hook.url == url:
                return hook.id
        if len(found) < HOOKS_A_PAGE:
            break
    return None
