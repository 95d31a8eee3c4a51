"""The Jenkins connector against canned answers."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest
from tests.support.checked import Checked, checked

from stella_contracts.plugin import Secret
from stella_contracts.testing import Provider
from stella_plugin_jenkins.plugin import JenkinsPlugin, root_of

ROOT = "https://jenkins.test/ci"
LOGIN = Secret({"username": "ci", "password": "hunter2"})
BASIC = "Basic " + base64.b64encode(b"ci:hunter2").decode()
CI = {"anonymous": False, "authenticated": True, "name": "ci", "authorities": ["authenticated"]}
STRANGER = {"anonymous": True, "authenticated": True, "name": "anonymous"}
LOGIN_PAGE = httpx.Response(200, html="<title>Sign in [Jenkins]</title>")
NO_PERMISSION = httpx.Response(403, html="ci is missing the Overall/Read permission")


def controller(**fields: Any) -> httpx.Response:
    known = {"_class": "hudson.model.Hudson", "mode": "NORMAL", "quietingDown": False}
    return httpx.Response(200, json=known | fields)


def agents(*states: str) -> httpx.Response:
    away = {"up": (False, False), "lost": (True, False), "taken away": (True, True)}
    listed = [
        {"_class": "hudson.slaves.SlaveComputer", "offline": off, "temporarilyOffline": by_hand}
        for off, by_hand in (away[state] for state in states)
    ]
    return httpx.Response(200, json={"_class": "hudson.model.ComputerSet", "computer": listed})


CONTROLLER, AGENTS = controller(), agents("up", "up")


class Jenkins:
    def __init__(
        self,
        who: httpx.Response | None = None,
        controller: httpx.Response = CONTROLLER,
        agents: httpx.Response = AGENTS,
    ) -> None:
        self._answers: Mapping[str, httpx.Response] = {
            f"{ROOT}/whoAmI/api/json": who or httpx.Response(200, json=CI),
            f"{ROOT}/api/json": controller,
            f"{ROOT}/computer/api/json": agents,
        }
        self.provider = Provider(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "GET"
        return self._answers[str(request.url.copy_with(query=None))]

    async def check(self, secret: Secret | None = LOGIN) -> Checked:
        config = {"endpoint": ROOT}
        return await checked(JenkinsPlugin(), config, secret, transport=self.provider)

    @property
    def asked(self) -> Sequence[str]:
        return [str(each.url).removeprefix(ROOT) for each in self.provider.requests]


@pytest.mark.parametrize(
    ("jenkins", "finding", "message"),
    [
        pytest.param(Jenkins(), ("healthy", None), None, id="up"),
        pytest.param(
            Jenkins(agents=agents("up", "taken away")), ("healthy", None), None, id="one taken away"
        ),
        pytest.param(
            Jenkins(agents=agents("up", "lost", "lost")),
            ("degraded", "remote_error"),
            "2 of 3 agents are offline",
            id="some lost",
        ),
        pytest.param(
            Jenkins(agents=agents("lost", "taken away")),
            ("degraded", "remote_error"),
            "Every agent of Jenkins is offline: no build can run",
            id="none left",
        ),
        pytest.param(Jenkins(agents=agents()), ("healthy", None), None, id="agents on demand"),
        pytest.param(Jenkins(agents=NO_PERMISSION), ("healthy", None), None, id="agents unseen"),
        pytest.param(
            Jenkins(controller=controller(quietingDown=True)),
            ("degraded", "remote_error"),
            "Jenkins prepares to shut down: it starts no builds",
            id="going down",
        ),
        pytest.param(
            Jenkins(who=httpx.Response(401, html="Unauthorized")),
            ("unhealthy", "auth_rejected"),
            None,
            id="wrong token",
        ),
        pytest.param(
            Jenkins(who=httpx.Response(200, json=STRANGER)),
            ("unhealthy", "auth_rejected"),
            "Jenkins takes the user for a stranger",
            id="taken for nobody",
        ),
        pytest.param(
            Jenkins(controller=NO_PERMISSION),
            ("unhealthy", "permission_missing"),
            None,
            id="may not read",
        ),
        pytest.param(
            Jenkins(who=LOGIN_PAGE), ("unhealthy", "bad_response"), None, id="a login page"
        ),
        pytest.param(
            Jenkins(who=httpx.Response(503, html="Please wait while Jenkins is getting ready")),
            ("unhealthy", "remote_error"),
            None,
            id="starting",
        ),
        pytest.param(
            Jenkins(who=httpx.Response(404)), ("unhealthy", "not_found"), None, id="no Jenkins"
        ),
    ],
)
async def test_jenkins_is_found_to_be(
    jenkins: Jenkins, finding: tuple[str, str | None], message: str | None
) -> None:
    found = await jenkins.check()

    assert found.finding == finding
    assert message is None or found.result.error_message == message
    assert "hunter2" not in found.told


async def test_login_is_sent_with_each_request_and_only_what_is_needed_is_asked_for() -> None:
    jenkins = Jenkins()

    await jenkins.check()

    assert jenkins.asked == [
        "/whoAmI/api/json",
        "/api/json?tree=mode%2CquietingDown",
        "/computer/api/json?tree=computer%5Boffline%2CtemporarilyOffline%5D",
    ]
    assert {each.headers["Authorization"] for each in jenkins.provider.requests} == {BASIC}


async def test_open_jenkins_needs_no_login() -> None:
    jenkins = Jenkins(who=httpx.Response(200, json=STRANGER))

    assert (await jenkins.check(None)).finding == ("healthy", None)


@pytest.mark.parametrize(
    ("endpoint", "root"),
    [
        ("https://jenkins.test", "https://jenkins.test"),
        ("https://jenkins.test/", "https://jenkins.test"),
        ("https://Jenkins.test:443/jenkins/", "https://jenkins.test/jenkins"),
        ("http://jenkins:8080/ci/api/json", "http://jenkins:8080/ci"),
        ("https://jenkins.test/api/", "https://jenkins.test"),
    ],
)
def test_endpoint_becomes_one_root(endpoint: str, root: str) -> None:
    assert root_of(endpoint) == root
    assert root_of(root) == root
