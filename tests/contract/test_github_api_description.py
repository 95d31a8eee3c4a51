"""The GitHub connector against the API descriptions that GitHub publishes."""

from typing import Any

import httpx
import pytest
from tests.support.api_description import ApiDescription
from tests.support.app_key import app_key_pem
from tests.support.checked import checked

from stella_contracts.plugin import Secret
from stella_contracts.testing import Provider
from stella_plugin_github_app.plugin import GitHubAppPlugin

CLOUD = ("github-api.github.com.trimmed.json", "https://github.com", "https://api.github.com", "")
ENTERPRISE = ("github-ghes-3.19.trimmed.json", "https://ghe.test", "https://ghe.test", "/api/v3")
APP, TOKENS, LIMIT = (
    "/app",
    "/app/installations/{installation_id}/access_tokens",
    "/rate_limit",
)


class Described:
    """A GitHub that answers as it is described, with one answer changed."""

    def __init__(self, file: str, endpoint: str, origin: str, prefix: str) -> None:
        self.endpoint = endpoint
        self.prefix = prefix
        self.description = ApiDescription(file, origin)

    def good(self) -> dict[str, tuple[int, Any]]:
        return {
            APP: (200, self.example(APP, 200)),
            TOKENS: (201, self.example(TOKENS, 201, "post")),
            LIMIT: (200, self.example(LIMIT, 200)),
        }

    def example(self, path: str, status: int, method: str = "get") -> Any:
        return next(iter(self.description.examples(self.prefix + path, status, method).values()))

    async def check(
        self, answers: dict[str, tuple[int, Any]]
    ) -> tuple[tuple[str, str | None], Provider]:
        def answer(request: httpx.Request) -> httpx.Response:
            path = request.url.path.removeprefix(self.prefix).replace("/42/", "/{installation_id}/")
            status, body = answers[path]
            return httpx.Response(status, json=body)

        provider = Provider(answer)
        config = {
            "endpoint": self.endpoint,
            "appId": "Iv23liExample",
            "installationId": 42,
            "repositories": ["hello"],
            "permissions": {"contents": "read", "metadata": "read"},
        }
        secret = Secret({"value": app_key_pem()})
        found = await checked(GitHubAppPlugin(sleep=_at_once), config, secret, transport=provider)
        return found.finding, provider


async def _at_once(_: float) -> None:
    pass


@pytest.fixture(scope="module", params=[CLOUD, ENTERPRISE], ids=["cloud", "enterprise"])
def described(request: pytest.FixtureRequest) -> Described:
    return Described(*request.param)


async def test_every_request_is_one_that_github_describes(described: Described) -> None:
    found, provider = await described.check(described.good())

    assert found == ("healthy", None)
    assert [request.method for request in provider.requests] == ["GET", "POST", "GET"]
    for request in provider.requests:
        described.description.check_request(request)


UNDERSTOOD = {
    (TOKENS, 401): ("unhealthy", "auth_rejected"),
    (TOKENS, 403): ("unhealthy", "permission_missing"),
    (TOKENS, 404): ("unhealthy", "not_found"),
    (TOKENS, 422): ("unhealthy", "permission_missing"),
    (LIMIT, 404): ("healthy", None),
}
NEVER_ASKED_FOR = {(LIMIT, 304)}
"""Answers to conditional requests, which the connector does not make."""


@pytest.mark.parametrize(
    ("path", "status"), UNDERSTOOD, ids=[f"{status} to {path}" for path, status in UNDERSTOOD]
)
async def test_every_described_refusal_is_understood(
    described: Described, path: str, status: int
) -> None:
    example = described.example(path, status, "post" if path == TOKENS else "get")

    found, _ = await described.check(described.good() | {path: (status, example)})

    assert found == UNDERSTOOD[path, status]


def test_no_described_answer_was_left_out(described: Described) -> None:
    refusals = {
        (path, status)
        for path, method in ((APP, "get"), (TOKENS, "post"), (LIMIT, "get"))
        for status in described.description.statuses(described.prefix + path, method)
        if status >= 300
    }

    assert refusals - NEVER_ASKED_FOR == set(UNDERSTOOD)
