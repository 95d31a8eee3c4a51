"""Each class of failure, by real servers and through the egress guard, for every connector."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.integration.egress.answering import (
    Behaviour,
    for_ever,
    resetting,
    saying,
    serving,
    then_closing,
)
from tests.support.app_key import app_key_pem
from tests.support.certificates import server_certificate
from tests.support.checked import PLUGINS, Checked, checked_for_real

from stella_contracts.health import StepResult
from stella_contracts.manifest import Manifest
from stella_contracts.plugin import IntegrationPlugin, Secret
from stella_plugin_github_app.plugin import GitHubAppPlugin
from stella_plugin_gitlab.plugin import GitLabPlugin
from stella_plugin_harbor.plugin import HarborPlugin
from stella_plugin_jenkins.plugin import JenkinsPlugin
from stella_plugin_oci_registry.plugin import OciRegistryPlugin

LOGIN = {"username": "ci", "password": "hunter2"}


@dataclass(frozen=True, slots=True)
class Connector:
    plugin: IntegrationPlugin
    secret: Mapping[str, str] = field(default_factory=lambda: LOGIN)
    config: Mapping[str, Any] = field(default_factory=dict)

    async def check(self, endpoint: str, authorities: str | None = None) -> Checked:
        return await checked_for_real(
            self.plugin,
            {"endpoint": endpoint, **self.config},
            Secret(self.secret),
            authorities=authorities,
        )


CONNECTORS = {
    "github-app": Connector(
        GitHubAppPlugin(), {"value": app_key_pem()}, {"appId": 17, "installationId": 42}
    ),
    "gitlab": Connector(GitLabPlugin(), {"value": "hunter2"}),
    "harbor": Connector(HarborPlugin()),
    "jenkins": Connector(JenkinsPlugin()),
    "oci-registry": Connector(OciRegistryPlugin()),
}
EVERY = pytest.mark.parametrize("name", CONNECTORS)


def test_no_connector_is_left_out() -> None:
    manifests = [Manifest.read(path.read_bytes()) for path in PLUGINS.glob("*/plugin.toml")]

    asks_somebody = {each.provider_type for each in manifests if each.identity_fields}
    assert asks_somebody == set(CONNECTORS)


def answer(status: int, body: bytes = b"{}", *headers: str) -> Behaviour:
    """An answer to any request, that quotes a secret where it is a page."""
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", *headers, "", ""]
    return saying("\r\n".join(lines).encode() + body)


PAGE = b"<!doctype html><title>Sign in</title><p>hunter2"
ELSEWHERE = "Location: https://elsewhere.test/hunter2"

FAILURES: Mapping[str, tuple[Behaviour, str, str]] = {
    "301": (answer(301, b"", ELSEWHERE), "unhealthy", "misconfigured"),
    "302": (answer(302, b"", ELSEWHERE), "unhealthy", "misconfigured"),
    "307": (answer(307, b"", ELSEWHERE), "unhealthy", "misconfigured"),
    "401": (answer(401), "unhealthy", "auth_rejected"),
    "403": (answer(403), "unhealthy", "permission_missing"),
    "404": (answer(404), "unhealthy", "not_found"),
    "429": (answer(429, b"later", "Retry-After: 7"), "degraded", "rate_limited"),
    "500": (answer(500), "unhealthy", "remote_error"),
    "502 with a page": (answer(502, PAGE), "unhealthy", "remote_error"),
    "503": (answer(503, PAGE), "unhealthy", "remote_error"),
    "a login page": (answer(200, PAGE), "unhealthy", "bad_response"),
    "203 with a page": (answer(203, PAGE), "unhealthy", "bad_response"),
    "nothing": (answer(204, b""), "unhealthy", "bad_response"),
    "cut off": (
        then_closing(b"HTTP/1.1 200 x\r\nContent-Length: 99\r\n\r\n{"),
        "unhealthy",
        "bad_response",
    ),
    "too large": (
        for_ever(b"HTTP/1.1 200 x\r\n\r\n", b"[" * 65536),
        "unhealthy",
        "bad_response",
    ),
    "not HTTP": (saying(b"220 mail.test ESMTP\r\n\r\n"), "unhealthy", "bad_response"),
    "reset": (resetting, "unhealthy", "connect"),
    "closed": (then_closing(), "unhealthy", "connect"),
}


@EVERY
@pytest.mark.parametrize("failure", FAILURES)
async def test_failure_of_the_server_has_its_code(name: str, failure: str) -> None:
    behave, status, code = FAILURES[failure]
    async with serving(behave) as server:
        found = await CONNECTORS[name].check(server.url)

    assert found.finding == (status, code)
    assert StepResult.FAILED in found.steps.values()
    assert "hunter2" not in found.told
    assert found.result.retry_after_seconds == (7 if failure == "429" else None)


@EVERY
@pytest.mark.parametrize(
    ("valid_for", "host", "trusted", "reason"),
    [
        pytest.param(timedelta(days=-1), "localhost", True, "expired", id="expired"),
        pytest.param(timedelta(days=1), "localhost", False, "self-signed", id="unknown authority"),
        pytest.param(timedelta(days=1), "127.0.0.2", True, "127.0.0.2", id="another host"),
    ],
)
async def test_certificate_that_is_refused_is_named(
    name: str, valid_for: timedelta, host: str, trusted: bool, reason: str
) -> None:
    certificate = server_certificate(valid_for=valid_for)
    authorities = certificate.certificate.decode() if trusted else None
    async with serving(answer(200), tls=certificate.server_context(), host=host) as server:
        found = await CONNECTORS[name].check(f"https://{host}:{server.port}", authorities)

    assert found.finding == ("unhealthy", "tls")
    assert reason in (found.result.error_message or "")


@EVERY
async def test_nobody_there_and_no_such_name(name: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = await CONNECTORS[name].check(f"http://127.0.0.1:{unused.getsockname()[1]}")
    unknown = await CONNECTORS[name].check("http://nowhere.invalid")

    assert refused.finding == ("unhealthy", "connect")
    assert unknown.finding == ("unhealthy", "dns")


@EVERY
@pytest.mark.parametrize("host", ["169.254.169.254", "[::ffff:169.254.169.254]", "10.0.0.1"])
async def test_address_that_the_policy_forbids_is_never_called(name: str, host: str) -> None:
    found = await CONNECTORS[name].check(f"http://{host}")

    assert found.finding == ("unhealthy", "blocked_by_policy")
