"""The GitLab connector against what GitLab documents."""

from typing import Any

import httpx
import pytest
from tests.support.api_description import ApiDescription
from tests.support.checked import checked

from stella_contracts.plugin import Secret
from stella_contracts.testing import Provider
from stella_plugin_gitlab.plugin import GitLabPlugin

ENDPOINT = "https://gitlab.example.com"
SELF, VERSION = "/api/v4/personal_access_tokens/self", "/api/v4/version"
WHEN_ALL_IS_WELL: dict[str, tuple[int, Any]] = {
    SELF: (200, {"active": True, "revoked": False, "scopes": ["read_api"]}),
    VERSION: (200, {"version": "18.6.0"}),
}


@pytest.fixture(scope="module")
def description() -> ApiDescription:
    return ApiDescription("gitlab-v4.assembled.oas3.json", ENDPOINT)


async def finding(answers: dict[str, tuple[int, Any]]) -> tuple[tuple[str, str | None], Provider]:
    def answer(request: httpx.Request) -> httpx.Response:
        status, body = answers[request.url.path]
        return httpx.Response(status, json=body)

    provider = Provider(answer)
    config = {"endpoint": ENDPOINT}
    secret = Secret({"value": "glpat-x"})
    found = await checked(GitLabPlugin(), config, secret, transport=provider)
    return found.finding, provider


async def test_every_request_is_one_that_gitlab_describes(description: ApiDescription) -> None:
    found, provider = await finding(WHEN_ALL_IS_WELL)

    assert found == ("healthy", None)
    assert [request.url.path for request in provider.requests] == [SELF, VERSION]
    for request in provider.requests:
        description.check_request(request)


UNDERSTOOD = {
    (SELF, 200): ("healthy", None),
    (SELF, 400): ("healthy", None),
    (SELF, 401): ("unhealthy", "auth_rejected"),
    (SELF, 404): ("healthy", None),
    (VERSION, 200): ("healthy", None),
    (VERSION, 401): ("unhealthy", "auth_rejected"),
}


@pytest.mark.parametrize(
    ("path", "status"), UNDERSTOOD, ids=[f"{status} to {path}" for path, status in UNDERSTOOD]
)
async def test_every_documented_answer_is_understood(
    description: ApiDescription, path: str, status: int
) -> None:
    for example in description.examples(path, status).values():
        found, _ = await finding(WHEN_ALL_IS_WELL | {path: (status, example)})

        description.check_answer(path, status, example)
        assert found == UNDERSTOOD[path, status]


def test_no_documented_answer_was_left_out(description: ApiDescription) -> None:
    described = {
        (path, status) for path in WHEN_ALL_IS_WELL for status in description.statuses(path)
    }

    assert described == set(UNDERSTOOD)
