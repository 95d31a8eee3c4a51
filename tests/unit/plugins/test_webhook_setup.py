"""Webhooks that connectors set up at their providers: one, however often it is asked for."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from tests.support.api_description import ApiDescription
from tests.support.app_key import app_key_pem
from tests.support.checked import lending

from stella_contracts.capabilities import WebhookOutcome, WebhookRequest
from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed, Secret
from stella_contracts.testing import Provider
from stella_plugin_github_app.plugin import GitHubAppPlugin
from stella_plugin_gitlab.plugin import GitLabPlugin

URL = "https://hub.test/hooks/1"
ORIGIN = "https://tool.test"


@dataclass
class Forge:
    """Keeps the hooks of one project, at a route, and gives no secret away."""

    plugin: Any
    route: str
    target: str
    secret: Secret
    config: dict[str, Any] = field(default_factory=dict)
    hooks: list[dict[str, Any]] = field(default_factory=list)
    asked: list[httpx.Request] = field(default_factory=list)
    refusal: httpx.Response | None = None

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode().partition("?")[0]
        if path.endswith("access_tokens"):
            ends = "2126-01-01T00:00:00Z"
            return httpx.Response(201, json={"token": "ghs_x", "expires_at": ends})
        self.asked.append(request)
        if self.refusal is not None:
            return self.refusal
        body = json.loads(request.content or b"{}")
        match request.method:
            case "GET":
                size, number = int(request.url.params["per_page"]), int(request.url.params["page"])
                assert path == self.route
                return httpx.Response(200, json=self.hooks[(number - 1) * size : number * size])
            case "POST":
                assert path == self.route
                self.hooks.append({"id": len(self.hooks), **body})
                return httpx.Response(201, json=self.hooks[-1])
            case _:
                known = int(path.removeprefix(f"{self.route}/"))
                self.hooks[known] |= body
                return httpx.Response(200, json=self.hooks[known])

    async def set_up(self, target: str | None = None, secret: str = "hunter2") -> WebhookOutcome:
        config = {"endpoint": ORIGIN, **self.config}
        wanted = WebhookRequest(self.target if target is None else target, URL, secret)
        transport = Provider(self.answer)
        async with lending(self.plugin, config, self.secret, transport=transport) as lent:
            outcome: WebhookOutcome = (await self.plugin.setup_webhook(*lent, wanted)).outcome
        return outcome


def github() -> Forge:
    return Forge(
        GitHubAppPlugin(),
        "/api/v3/repos/octo/hello.world/hooks",
        "octo/hello.world",
        Secret({"value": app_key_pem()}),
        {"appId": 17, "installationId": 42},
        hooks=[{"id": n, "config": {"url": f"https://other.test/{n}"}} for n in range(130)],
    )


def gitlab() -> Forge:
    return Forge(
        GitLabPlugin(),
        "/api/v4/projects/group%2Fsub%2Fproject/hooks",
        "group/sub/project",
        Secret({"value": "glpat-x"}),
        hooks=[{"id": n, "url": f"https://other.test/{n}"} for n in range(130)],
    )


EACH = pytest.mark.parametrize("make", [github, gitlab])


@EACH
async def test_webhook_is_made_once_and_brought_up_to_date_after_that(make: Any) -> None:
    forge = make()

    outcomes = [await forge.set_up(), await forge.set_up(secret="hunter3")]

    assert outcomes == ["created", "updated"]
    ours = [hook for hook in forge.hooks if URL in json.dumps(hook)]
    assert len(ours) == 1
    assert "hunter3" in json.dumps(ours)
    assert "hunter2" not in json.dumps(ours)


async def test_webhook_carries_its_secret_and_verifies_certificates() -> None:
    forges = github(), gitlab()
    for forge in forges:
        await forge.set_up()

    at_github, at_gitlab = (forge.hooks[-1] for forge in forges)
    assert at_github["config"] == {
        "url": URL,
        "content_type": "json",
        "insecure_ssl": "0",
        "secret": "hunter2",
    }
    assert (at_github["active"], at_github["events"]) == (True, ["push", "pull_request"])
    assert (at_gitlab["token"], at_gitlab["enable_ssl_verification"]) == ("hunter2", True)
    assert at_gitlab["push_events"] is True


@EACH
@pytest.mark.parametrize("target", ["", "..", "a/../b", "a//b", "/", "../octo"])
async def test_target_that_names_no_project_is_refused_unsent(make: Any, target: str) -> None:
    forge = make()

    with pytest.raises(CheckFailed) as refused:
        await forge.set_up(target)

    assert refused.value.code is ErrorCode.MISCONFIGURED
    assert forge.asked == []


@EACH
async def test_credential_that_may_not_is_told_so(make: Any) -> None:
    forge = make()
    forge.refusal = httpx.Response(403, json={"message": "403 Forbidden"})

    with pytest.raises(CheckFailed) as refused:
        await forge.set_up()

    assert refused.value.code is ErrorCode.PERMISSION_MISSING


@pytest.mark.parametrize(
    ("make", "file", "undescribed"),
    [
        (github, "github-ghes-3.19.trimmed.json", set()),
        (gitlab, "gitlab-v4.assembled.oas3.json", {"PUT"}),
    ],
)
async def test_every_request_is_one_that_the_vendor_describes(
    make: Any, file: str, undescribed: set[str]
) -> None:
    description, forge = ApiDescription(file, ORIGIN), make()

    await forge.set_up()
    await forge.set_up()

    for request in forge.asked:
        if request.method not in undescribed:
            description.check_request(request)


def test_secret_of_a_request_is_not_shown() -> None:
    assert "hunter2" not in repr(WebhookRequest("a/b", URL, "hunter2"))
