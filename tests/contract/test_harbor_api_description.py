"""The Harbor connector against the API description that Harbor publishes."""

from typing import Any

import httpx
import pytest
from tests.support.api_description import ApiDescription
from tests.support.harbor_server import PASSWORD, ROBOT, USER, State, harbor_server

from stella_contracts.failures import result_of
from stella_contracts.health import HealthResult
from stella_contracts.plugin import CheckFailed, Secret
from stella_contracts.testing import Provider, a_context, an_integration
from stella_plugin_harbor.plugin import HarborPlugin

ENDPOINT = "https://harbor.example.com"
"""The server that the description names."""

HEALTH, CURRENT_USER, SYSTEM_INFO = (
    f"/api/v2.0/{name}" for name in ("health", "users/current", "systeminfo")
)
WHEN_ALL_IS_WELL: dict[str, tuple[int, Any]] = {
    HEALTH: (200, {"status": "healthy", "components": [{"name": "core", "status": "healthy"}]}),
    CURRENT_USER: (412, {"errors": [{"code": "PRECONDITION", "message": "x"}]}),
    SYSTEM_INFO: (200, {"harbor_version": "v2.16.0", "read_only": False}),
}


@pytest.fixture(scope="module")
def description() -> ApiDescription:
    return ApiDescription("harbor-v2.16.trimmed.oas3.json", ENDPOINT)


async def check(provider: Provider, name: str = ROBOT) -> HealthResult:
    plugin = HarborPlugin()
    async with httpx.AsyncClient(transport=provider) as http:
        secret = Secret({"username": name, "password": PASSWORD})
        try:
            integration = an_integration(plugin, {"endpoint": ENDPOINT})
            return await plugin.check_health(integration, a_context(http, secret))
        except CheckFailed as failure:
            return result_of(failure)


def answering(answers: dict[str, tuple[int, Any]]) -> Provider:
    def answer(request: httpx.Request) -> httpx.Response:
        status, body = answers[request.url.path]
        return httpx.Response(status, json=body)

    return Provider(answer)


async def test_every_request_is_one_that_harbor_describes(description: ApiDescription) -> None:
    provider = answering(WHEN_ALL_IS_WELL)

    result = await check(provider)

    assert result == HealthResult.healthy()
    assert [request.url.path for request in provider.requests] == [*WHEN_ALL_IS_WELL]
    for request in provider.requests:
        description.check_request(request)


UNDERSTOOD = {
    (HEALTH, 200): ("degraded", "Harbor reports as not healthy: a component that is not known"),
    (HEALTH, 500): ("unhealthy", "HTTP 500"),
    (CURRENT_USER, 200): ("healthy", None),
    (CURRENT_USER, 401): (
        "unhealthy",
        "HTTP 401: The robot or user is unknown, disabled or expired",
    ),
    (CURRENT_USER, 412): ("healthy", None),
    (CURRENT_USER, 500): ("unhealthy", "HTTP 500"),
    (SYSTEM_INFO, 200): ("degraded", "Harbor is in read-only mode"),
    (SYSTEM_INFO, 500): ("unhealthy", "HTTP 500"),
}


@pytest.mark.parametrize(
    ("path", "status"), UNDERSTOOD, ids=[f"{status} to {path}" for path, status in UNDERSTOOD]
)
async def test_every_described_answer_is_understood(
    description: ApiDescription, path: str, status: int
) -> None:
    [example] = description.examples(path, status).values()

    result = await check(answering(WHEN_ALL_IS_WELL | {path: (status, example)}))

    description.check_answer(path, status, example)
    assert (result.status, result.error_message) == UNDERSTOOD[path, status]


def test_no_described_answer_was_left_out(description: ApiDescription) -> None:
    described = {
        (path, status) for path in WHEN_ALL_IS_WELL for status in description.statuses(path)
    }

    assert described == set(UNDERSTOOD)


@pytest.mark.parametrize("name", [ROBOT, USER, None], ids=["robot", "user", "nobody"])
async def test_development_server_answers_as_harbor_describes(
    description: ApiDescription, name: str | None
) -> None:
    auth = httpx.BasicAuth(name, PASSWORD) if name else None
    # The others are late, or what stands in front of Harbor speaks.
    states = [State.HEALTHY, State.DEGRADED, State.COMPONENT_DOWN, State.READ_ONLY]
    states += [State.UNAUTHORIZED, State.ERROR]

    async with harbor_server() as server, httpx.AsyncClient(auth=auth) as http:
        for state in states:
            server.state = state
            for path in WHEN_ALL_IS_WELL:
                answer = await http.get(f"{server.url}{path}")
                description.check_answer(path, answer.status_code, answer.json())
