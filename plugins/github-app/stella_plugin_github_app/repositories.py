"""The repositories of an installation, and their webhooks."""

import re

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
from stella_contracts.plugin import CheckFailed, Steps
from stella_plugin_github_app.answers import NAME, raise_for_github
from stella_plugin_github_app.github import GitHub

HOOK_PAGES = 5
HOOKS_A_PAGE = 100
USEFUL_EVENTS = ["push", "pull_request"]

_FULL_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")


class Repository(BaseModel):
    id: int
    full_name: str
    html_url: str | None = None


class Repositories(BaseModel):
    """Body of `GET /installation/repositories`."""

    total_count: int
    repositories: list[Repository]


class HookConfig(BaseModel):
    url: str | None = None


class Hook(BaseModel):
    id: int
    config: HookConfig


class Hooks(RootModel[list[Hook]]):
    """Body of `GET /repos/{owner}/{repo}/hooks`."""


async def list_repositories(github: GitHub, steps: Steps, page: PageRequest) -> ListedPage:
    """One page of them, by number: links would name the host that GitHub takes itself for."""
    number = page.numbered_from(1)
    path = f"/installation/repositories?per_page={page.limit}&page={number}"
    response = await github.as_installation("GET", path, steps)
    raise_for_github(response)
    found = answer_of(response, Repositories, NAME)
    goes_on = bool(found.repositories) and number * page.limit < found.total_count
    return ListedPage(
        items=[
            Listed(id=str(each.id), name=each.full_name, url=each.html_url)
            for each in found.repositories
        ],
        next_cursor=str(number + 1) if goes_on else None,
    )


async def set_up_webhook(github: GitHub, steps: Steps, webhook: WebhookRequest) -> WebhookSetUp:
    """Have a repository call a URL, once however often this is asked for."""
    segments = webhook.target.split("/")
    if not _FULL_NAME.fullmatch(webhook.target) or {".", ".."} & set(segments):
        raise CheckFailed(ErrorCode.MISCONFIGURED, "The target must be <owner>/<repository>")
    hooks = f"/repos/{webhook.target}/hooks"
    known = await _find_hook(github, steps, hooks, webhook.url)
    wanted = {
        "active": True,
        "events": list(webhook.events) or USEFUL_EVENTS,
        "config": {
            "url": webhook.url,
            "content_type": "json",
            "insecure_ssl": "0",
            "secret": webhook.secret,
        },
    }
    if known is None:
        response = await github.as_installation("POST", hooks, steps, {"name": "web", **wanted})
    else:
        response = await github.as_installation("PATCH", f"{hooks}/{known}", steps, wanted)
    raise_for_github(response)
    return WebhookSetUp(outcome=WebhookOutcome.CREATED if known is None else WebhookOutcome.UPDATED)


async def _find_hook(github: GitHub, steps: Steps, hooks: str, url: str) -> int | None:
    for number in range(1, HOOK_PAGES + 1):
        path = f"{hooks}?per_page={HOOKS_A_PAGE}&page={number}"
        response = await github.as_installation("GET", path, steps)
        raise_for_github(response)
        found = answer_of(response, Hooks, NAME).root
        for hook in found:
            if hook.config.url == url:
                return hook.id
        if len(found) < HOOKS_A_PAGE:
            break
    return None
