"""The Harbor connector against canned answers."""

import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.failures import result_of
from stella_contracts.health import ErrorCode, HealthResult, HealthStatus, StepResult
from stella_contracts.logins import basic_login_of
from stella_contracts.plugin import CheckFailed, PluginContext, Secret
from stella_contracts.testing import Provider, RecordingLog, a_context, an_integration
from stella_plugin_harbor.plugin import HarborPlugin

ROOT = "https://harbor.test/api/v2.0"
NAME, PASSWORD = "robot$stella+ci", "hunter2:hunter2"
ROBOT = Secret({"username": NAME, "password": PASSWORD})
UP = {"core": "healthy", "database": "healthy", "redis": "healthy", "registry": "healthy"}


def report(status: str = "healthy", **components: str) -> httpx.Response:
    listed = [{"name": name, "status": state} for name, state in (UP | components).items()]
    return httpx.Response(200, json={"status": status, "components": listed})


def refusal(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"errors": [{"code": code, "message": "x"}]})


LOGIN_PAGE = httpx.Response(200, html="<title>Sign in</title>")
ROBOT_IS_LOGGED_IN = refusal(412, "PRECONDITION")
USER_IS_LOGGED_IN = httpx.Response(200, json={"user_id": 1, "username": "alice"})


class Harbor:
    """Answers each route with what the test says."""

    def __init__(
        self,
        health: httpx.Response | None = None,
        current_user: httpx.Response = ROBOT_IS_LOGGED_IN,
        system_info: httpx.Response | None = None,
    ) -> None:
        self._answers = {
            f"{ROOT}/health": health or report(),
            f"{ROOT}/users/current": current_user,
            f"{ROOT}/systeminfo": system_info or httpx.Response(200, json={"read_only": False}),
        }
        self.provider = Provider(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "GET"
        return self._answers[str(request.url)]

    async def check(
        self, secret: Secret | None = None, endpoint: str = "https://harbor.test"
    ) -> tuple[HealthResult, PluginContext]:
        """The result as a host records it, and what it lent."""
        plugin = HarborPlugin()
        async with httpx.AsyncClient(transport=self.provider) as http:
            context = a_context(http, secret)
            try:
                integration = an_integration(plugin, {"endpoint": endpoint})
                return await plugin.check_health(integration, context), context
            except CheckFailed as failure:
                return result_of(failure), context


def steps(context: PluginContext) -> Mapping[str, StepResult]:
    return {step.name: step.result for step in context.steps.taken}


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        pytest.param(report(), "healthy", None, id="all up"),
        pytest.param(report(trivy="healthy"), "healthy", None, id="with a scanner"),
        pytest.param(report(quota="healthy"), "healthy", None, id="a component of the future"),
        *[
            pytest.param(
                report("unhealthy", **{name: "unhealthy"}),
                "unhealthy",
                f"Harbor reports as not healthy: {name}",
                id=f"{name} down behind a 200",
            )
            for name in UP
        ],
        *[
            pytest.param(
                report("unhealthy", **{name: "unhealthy"}),
                "degraded",
                f"Harbor reports as not healthy: {name}",
                id=f"{name} down",
            )
            for name in ("jobservice", "portal", "registryctl", "trivy")
        ],
        pytest.param(
            report("unhealthy", redis="unhealthy", database="unhealthy", trivy="unhealthy"),
            "unhealthy",
            "Harbor reports as not healthy: database, redis",
            id="several down",
        ),
        pytest.param(
            report("unhealthy", quota="unhealthy", trivy="unhealthy"),
            "degraded",
            "Harbor reports as not healthy: trivy, a component that is not known",
            id="a component of the future down",
        ),
        pytest.param(
            report(core="string"),
            "degraded",
            "Harbor reports as not healthy: core",
            id="a word of the future",
        ),
        pytest.param(
            report("unhealthy"),
            "degraded",
            "Harbor calls itself unhealthy and no component of it",
            id="at odds with itself",
        ),
    ],
)
async def test_result_says_what_harbor_said(
    answer: httpx.Response, status: str, message: str | None
) -> None:
    result, _ = await Harbor(answer).check()

    assert (result.status, result.error_message) == (status, message)
    assert result.error_code == (ErrorCode.REMOTE_ERROR if message else None)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(LOGIN_PAGE, ErrorCode.BAD_RESPONSE, id="a login page behind a 200"),
        pytest.param(httpx.Response(204), ErrorCode.BAD_RESPONSE, id="nothing"),
        pytest.param(httpx.Response(200, json={}), ErrorCode.BAD_RESPONSE, id="other JSON"),
        pytest.param(
            httpx.Response(200, json={"status": "healthy", "components": []}),
            ErrorCode.BAD_RESPONSE,
            id="a report of nothing",
        ),
        pytest.param(
            httpx.Response(302, headers={"Location": "https://harbor.test/login"}),
            ErrorCode.MISCONFIGURED,
            id="a redirect",
        ),
        pytest.param(refusal(404, "NOT_FOUND"), ErrorCode.NOT_FOUND, id="no such API"),
        pytest.param(refusal(500, "UNKNOWN"), ErrorCode.REMOTE_ERROR, id="server error"),
        pytest.param(httpx.Response(502, html="<h1>x"), ErrorCode.REMOTE_ERROR, id="bad gateway"),
    ],
)
async def test_what_is_no_report_is_an_outage(answer: httpx.Response, code: ErrorCode) -> None:
    result, context = await Harbor(answer).check(ROBOT)

    assert (result.status, result.error_code) == (HealthStatus.UNHEALTHY, code)
    assert steps(context) == {"request": StepResult.FAILED}


async def test_rate_limit_is_no_outage_and_says_for_how_long() -> None:
    limited = httpx.Response(429, headers={"Retry-After": "120"})

    result, _ = await Harbor(limited).check()

    assert (result.status, result.retry_after_seconds) == (HealthStatus.DEGRADED, 120)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(ROBOT_IS_LOGGED_IN, None, id="robot"),
        pytest.param(USER_IS_LOGGED_IN, None, id="user"),
        pytest.param(refusal(401, "UNAUTHORIZED"), ErrorCode.AUTH_REJECTED, id="wrong"),
        pytest.param(refusal(403, "FORBIDDEN"), ErrorCode.PERMISSION_MISSING, id="forbidden"),
        pytest.param(LOGIN_PAGE, ErrorCode.BAD_RESPONSE, id="a login page behind a 200"),
        pytest.param(refusal(500, "UNKNOWN"), ErrorCode.REMOTE_ERROR, id="server error"),
    ],
)
async def test_credential_is_tried(answer: httpx.Response, code: ErrorCode | None) -> None:
    result, context = await Harbor(current_user=answer).check(ROBOT)

    assert result.error_code == code
    passed = StepResult.FAILED if code else StepResult.PASSED
    assert steps(context)["authenticate"] is passed


async def test_expired_robot_is_told_from_one_that_may_not() -> None:
    """Harbor takes one for an anonymous visitor, who gets a 200 wherever everybody does."""
    expired, _ = await Harbor(current_user=refusal(401, "UNAUTHORIZED")).check(ROBOT)

    assert expired.error_code is ErrorCode.AUTH_REJECTED
    assert expired.error_message == "HTTP 401: The robot or user is unknown, disabled or expired"


async def test_credential_is_not_blamed_while_harbor_is_down() -> None:
    down = report("unhealthy", database="unhealthy")

    result, context = await Harbor(down, refusal(401, "UNAUTHORIZED")).check(ROBOT)

    assert result.error_code is ErrorCode.REMOTE_ERROR
    assert steps(context)["authenticate"] is StepResult.SKIPPED


async def test_degraded_harbor_with_a_wrong_credential_is_an_outage() -> None:
    degraded = report("unhealthy", jobservice="unhealthy")

    result, _ = await Harbor(degraded, refusal(401, "UNAUTHORIZED")).check(ROBOT)

    assert result.error_code is ErrorCode.AUTH_REJECTED


async def test_read_only_harbor_is_degraded() -> None:
    read_only = httpx.Response(200, json={"read_only": True})

    result, _ = await Harbor(system_info=read_only).check(ROBOT)

    assert result.status is HealthStatus.DEGRADED
    assert result.error_message == "Harbor is in read-only mode"


async def test_without_a_secret_only_the_report_is_asked_for() -> None:
    harbor = Harbor()

    result, context = await harbor.check()

    assert result.status is HealthStatus.HEALTHY
    assert [str(request.url) for request in harbor.provider.requests] == [f"{ROOT}/health"]
    assert steps(context) == {
        "request": StepResult.PASSED,
        "authenticate": StepResult.SKIPPED,
    }


async def test_login_is_sent_where_it_is_needed_and_no_cookie_anywhere() -> None:
    harbor = Harbor()

    await harbor.check(ROBOT)

    sent = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
    authorizations = {
        request.url.path.removeprefix("/api/v2.0"): request.headers.get("Authorization")
        for request in harbor.provider.requests
    }
    assert authorizations == {
        "/health": None,
        "/users/current": f"Basic {sent}",
        "/systeminfo": f"Basic {sent}",
    }
    assert not any("Cookie" in request.headers for request in harbor.provider.requests)


@pytest.mark.parametrize("status", [200, 401, 403, 412, 500])
async def test_answer_that_repeats_the_login_leaks_nothing(status: int) -> None:
    sent = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
    echo = {"username": [NAME, PASSWORD, sent], "errors": [{"message": PASSWORD + sent}]}

    result, context = await Harbor(current_user=httpx.Response(status, json=echo)).check(ROBOT)

    assert isinstance(context.log, RecordingLog)
    told = f"{result!r} {context!r} {context.log.records}"
    assert not [hidden for hidden in (NAME, PASSWORD, sent) if hidden in told]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"username": NAME, "password": PASSWORD}, id="two fields"),
        pytest.param({"username": NAME, "password": PASSWORD, "note": "x"}, id="and a third"),
        pytest.param({"value": f"{NAME}:{PASSWORD}"}, id="one value"),
    ],
)
def test_login_is_read_from_a_secret(fields: dict[str, str]) -> None:
    [request] = basic_login_of(Secret(fields)).auth_flow(httpx.Request("GET", ROOT))

    given_up = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
    assert given_up == f"{NAME}:{PASSWORD}"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="empty"),
        pytest.param({"value": "hunter2"}, id="no colon"),
        pytest.param({"value": ":hunter2"}, id="no name"),
        pytest.param({"value": "robot:"}, id="no password"),
        pytest.param({"username": "robot", "token": "hunter2"}, id="other fields"),
        pytest.param({"username": "", "password": "hunter2"}, id="empty name"),
        pytest.param({"username": "a:b", "password": "hunter2"}, id="colon in the name"),
        pytest.param({"value": "robot:hunter2\n"}, id="line end"),
        pytest.param({"value": "robot:hunter2\udcff"}, id="no text"),
    ],
)
async def test_secret_that_cannot_be_used_is_said_before_anything_is_asked(
    fields: dict[str, str],
) -> None:
    harbor = Harbor()

    result, _ = await harbor.check(Secret(fields))

    assert result.error_code is ErrorCode.SECRET_UNRESOLVABLE
    assert "hunter2" not in str(result)
    assert harbor.provider.requests == []


@given(st.text(), st.text())
def test_any_secret_can_be_sent_or_is_refused(name: str, password: str) -> None:
    with suppress(CheckFailed):
        login = basic_login_of(Secret({"username": name, "password": password}))

        [request] = login.auth_flow(httpx.Request("GET", ROOT))
        sent = request.headers["Authorization"].removeprefix("Basic ")
        assert base64.b64decode(sent).decode().partition(":") == (name, ":", password)


async def test_fields_that_are_not_ours_are_refused_in_their_place() -> None:
    result = await HarborPlugin().validate_config({"endpiont": "https://harbor.test"})

    found: list[Any] = [problem.pointer for problem in result.problems]
    assert found == ["/endpoint", "/endpiont"]
    assert result.connection is None
