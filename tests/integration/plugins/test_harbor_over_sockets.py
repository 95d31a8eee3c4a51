"""The Harbor connector against a server that speaks Harbor over real sockets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from tests.support.certificates import server_certificate
from tests.support.harbor_server import PASSWORD, ROBOT, USER, HarborServer, State, harbor_server

from stella_contracts.failures import failure_of, result_of
from stella_contracts.health import ErrorCode, HealthResult, HealthStatus
from stella_contracts.plugin import CheckFailed, Secret
from stella_contracts.testing import a_context, an_integration
from stella_plugin_harbor.plugin import HarborPlugin

RIGHT = Secret({"value": f"{ROBOT}:{PASSWORD}"})


async def check(
    url: str, secret: Secret | None = RIGHT, trust: ssl.SSLContext | bool = True
) -> HealthResult:
    """The result as a host records it."""
    plugin = HarborPlugin()
    async with httpx.AsyncClient(trust_env=False, verify=trust) as http:
        integration = an_integration(plugin, {"endpoint": url})
        try:
            return await plugin.check_health(integration, a_context(http, secret))
        except CheckFailed as failure:
            return result_of(failure)
        except httpx.HTTPError as error:
            return result_of(failure_of(error))


@pytest.fixture
async def harbor() -> AsyncIterator[HarborServer]:
    async with harbor_server() as server:
        yield server


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        pytest.param(State.HEALTHY, "healthy", None, id="healthy"),
        pytest.param(State.SLOW, "healthy", None, id="slow"),
        pytest.param(State.DEGRADED, "degraded", ErrorCode.REMOTE_ERROR, id="degraded"),
        pytest.param(State.READ_ONLY, "degraded", ErrorCode.REMOTE_ERROR, id="read-only"),
        pytest.param(State.COMPONENT_DOWN, "unhealthy", ErrorCode.REMOTE_ERROR, id="redis down"),
        pytest.param(State.ERROR, "unhealthy", ErrorCode.REMOTE_ERROR, id="error"),
        pytest.param(State.UNAUTHORIZED, "unhealthy", ErrorCode.AUTH_REJECTED, id="unauthorized"),
        pytest.param(State.FORBIDDEN, "unhealthy", ErrorCode.PERMISSION_MISSING, id="forbidden"),
        pytest.param(State.RATE_LIMITED, "degraded", ErrorCode.RATE_LIMITED, id="rate limited"),
        pytest.param(State.LOGIN_PAGE, "unhealthy", ErrorCode.BAD_RESPONSE, id="login page"),
    ],
)
async def test_every_state_is_found_out(
    harbor: HarborServer, state: State, status: str, code: ErrorCode | None
) -> None:
    harbor.state = state

    result = await check(harbor.url)

    assert (result.status, result.error_code) == (status, code)


@pytest.mark.parametrize(
    ("secret", "code"),
    [
        pytest.param(Secret({"username": USER, "password": PASSWORD}), None, id="user"),
        pytest.param(None, None, id="no secret"),
        pytest.param(Secret({"value": f"{ROBOT}:no"}), ErrorCode.AUTH_REJECTED, id="wrong"),
    ],
)
async def test_credential_is_tried(
    harbor: HarborServer, secret: Secret | None, code: ErrorCode | None
) -> None:
    result = await check(harbor.url, secret)

    assert result.error_code == code


async def test_breaking_and_mending_by_hand_is_seen_at_once(harbor: HarborServer) -> None:
    async with httpx.AsyncClient(base_url=harbor.url, trust_env=False) as http:
        before = await check(harbor.url)
        await http.post("/control", json={"state": "component-down"})
        broken = await check(harbor.url)
        await http.post("/control", json={"state": "healthy"})
        mended = await check(harbor.url)
        refused = await http.post("/control", json={"state": "on fire"})

    assert [each.status for each in (before, broken, mended)] == ["healthy", "unhealthy", "healthy"]
    assert refused.status_code == 422


async def test_check_of_a_server_that_hangs_ends_when_it_is_cancelled(harbor: HarborServer) -> None:
    harbor.state = State.HANG
    checking = asyncio.ensure_future(check(harbor.url))
    await asyncio.wait_for(harbor.asked.wait(), timeout=10)

    checking.cancel()
    await asyncio.wait({checking}, timeout=10)

    assert checking.cancelled()


async def test_nobody_there_is_no_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))

        result = await check(f"http://127.0.0.1:{unused.getsockname()[1]}")

    assert result.error_code is ErrorCode.CONNECT
    assert result.error_message == "The connection was refused"


async def test_trusted_certificate_is_healthy() -> None:
    certificate = server_certificate()
    async with harbor_server(certificate=certificate) as harbor:
        result = await check(harbor.url, trust=certificate.client_context())

    assert result.status is HealthStatus.HEALTHY


@pytest.mark.parametrize(
    ("valid_for", "trusted", "reason"),
    [
        pytest.param(timedelta(days=1), False, "self-signed certificate", id="unknown issuer"),
        pytest.param(timedelta(days=-1), True, "certificate has expired", id="expired"),
    ],
)
async def test_refused_certificate_is_an_outage_with_its_reason(
    valid_for: timedelta, trusted: bool, reason: str
) -> None:
    certificate = server_certificate(valid_for=valid_for)
    async with harbor_server(certificate=certificate) as harbor:
        trust = certificate.client_context() if trusted else True
        result = await check(harbor.url, trust=trust)

    assert result.error_code is ErrorCode.TLS
    assert reason in (result.error_message or "")


async def test_https_to_a_plain_port_is_a_tls_failure(harbor: HarborServer) -> None:
    result = await check(harbor.url.replace("http://", "https://"))

    assert result.error_code is ErrorCode.TLS
