"""The GitHub connector against a GitHub of canned answers that checks what it is sent."""

from collections.abc import Mapping
from datetime import timedelta

import httpx
import pytest
from tests.support.checked import Checked
from tests.support.scripted_github import BAD_EXP, HEALTHY, NOW, REJECTED, TOKENS, Hub, limits, said


async def finding(**answers: httpx.Response) -> Checked:
    hub = Hub()
    hub.github.answers = answers
    return await hub.check()


async def test_app_and_rate_limit_are_asked_for() -> None:
    hub = Hub()

    found = await hub.check()

    assert found.finding == HEALTHY
    assert hub.github.paths == ["/app", TOKENS, "/rate_limit"]
    assert [*found.steps] == ["app", "installation_token", "rate_limit"]


@pytest.mark.parametrize(
    ("answers", "expected", "message"),
    [
        pytest.param(
            {"app": said(401, "A JSON web token could not be decoded")},
            REJECTED,
            None,
            id="key of another App",
        ),
        pytest.param(
            {"app": said(404, "Integration not found")},
            ("unhealthy", "not_found"),
            None,
            id="no such App",
        ),
        pytest.param(
            {"app": httpx.Response(200, html="<title>Sign in</title>")},
            ("unhealthy", "bad_response"),
            None,
            id="a login page",
        ),
        pytest.param(
            {"app": httpx.Response(502, html="Unicorn!")},
            ("unhealthy", "remote_error"),
            None,
            id="unicorn",
        ),
        pytest.param(
            {"app": httpx.Response(302, headers={"Location": "https://ghe.test/login"})},
            ("unhealthy", "misconfigured"),
            None,
            id="private mode",
        ),
        pytest.param(
            {"token": said(403, "This installation has been suspended")},
            ("unhealthy", "permission_missing"),
            "HTTP 403: The installation of the App is suspended",
            id="suspended",
        ),
        pytest.param(
            {"token": said(404, "Not Found")},
            ("unhealthy", "not_found"),
            "HTTP 404: The App has no such installation. It was uninstalled, or installationId"
            " is that of another App",
            id="uninstalled",
        ),
        pytest.param(
            {"token": said(422, "The permissions requested are not granted to this installation.")},
            ("unhealthy", "permission_missing"),
            "HTTP 422: The installation was not granted all that repositories and permissions"
            " of the config ask for",
            id="not granted",
        ),
        pytest.param(
            {
                "token": httpx.Response(
                    201, json={"token": "a\nb", "expires_at": "2026-11-25T13:00:00Z"}
                )
            },
            ("unhealthy", "bad_response"),
            None,
            id="token that is no header",
        ),
        pytest.param(
            {"token": said(500, "Server Error")}, ("unhealthy", "remote_error"), None, id="no token"
        ),
        pytest.param(
            {"rate_limit": said(403, "Resource not accessible by integration")},
            ("unhealthy", "permission_missing"),
            None,
            id="permission missing",
        ),
        pytest.param(
            {"rate_limit": said(404, "Rate limiting is not enabled.")},
            HEALTHY,
            None,
            id="limits off",
        ),
        pytest.param({"rate_limit": limits(500)}, HEALTHY, None, id="a tenth left"),
        pytest.param(
            {"rate_limit": limits(499)},
            ("degraded", "rate_limited"),
            "499 of 5000 requests are left of the rate limit",
            id="less than a tenth left",
        ),
        pytest.param(
            {"rate_limit": httpx.Response(200, json={"rate": 1})},
            ("unhealthy", "bad_response"),
            None,
            id="no limits told",
        ),
    ],
)
async def test_github_is_found_to_be(
    answers: Mapping[str, httpx.Response], expected: tuple[str, str | None], message: str | None
) -> None:
    found = await finding(**answers)

    assert found.finding == expected
    assert message is None or found.result.error_message == message
    assert "ghs_" not in found.told


RESET = str(int(NOW.timestamp()) + 600)


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        pytest.param({"rate_limit": limits(0)}, 600, id="used up, as it says"),
        pytest.param({"rate_limit": limits(0, reset_in=-5)}, 0, id="used up until just now"),
        pytest.param(
            {
                "app": said(
                    403,
                    "API rate limit exceeded",
                    x_ratelimit_remaining="0",
                    x_ratelimit_reset=RESET,
                )
            },
            600,
            id="primary, 403",
        ),
        pytest.param(
            {
                "rate_limit": said(
                    429,
                    "API rate limit exceeded",
                    x_ratelimit_remaining="0",
                    x_ratelimit_reset=RESET,
                )
            },
            600,
            id="primary, 429",
        ),
        pytest.param(
            {"app": said(403, "You have exceeded a secondary rate limit", retry_after="30")},
            30,
            id="secondary with a time",
        ),
        pytest.param(
            {"token": said(403, "You have exceeded a secondary rate limit. Please wait")},
            60,
            id="secondary without",
        ),
        pytest.param({"rate_limit": said(429, "slow down")}, 60, id="429 without a word"),
    ],
)
async def test_limit_is_no_outage_and_says_for_how_long(
    answers: Mapping[str, httpx.Response], seconds: float
) -> None:
    found = await finding(**answers)

    assert found.finding == ("degraded", "rate_limited")
    assert found.result.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("ahead", "message"),
    [
        (timedelta(minutes=-12), "The clock of this hub is 720 s behind GitHub's"),
        (timedelta(minutes=12), "The clock of this hub is 720 s ahead of GitHub's"),
    ],
)
async def test_clock_that_is_wrong_is_corrected_and_told(ahead: timedelta, message: str) -> None:
    hub = Hub()
    hub.clock_ahead = ahead

    found = await hub.check()

    assert found.finding == ("degraded", "misconfigured")
    assert found.result.error_message == message
    assert hub.github.paths == ["/app", "/app", TOKENS, "/rate_limit"]


async def test_clock_that_github_refuses_for_no_reason_is_tried_twice() -> None:
    hub = Hub()
    hub.github.answers = {"app": said(401, BAD_EXP)}

    assert (await hub.check()).finding == REJECTED
    assert hub.github.paths == ["/app", "/app"]


async def test_clock_that_is_a_little_wrong_is_nobodys_business() -> None:
    hub = Hub()
    for seconds in (-50, 50):
        hub.clock_ahead = timedelta(seconds=seconds)
        assert (await hub.check()).finding == HEALTHY


async def test_integration_without_a_key_is_told_so() -> None:
    found = await Hub().check(None)

    assert found.finding == ("unhealthy", "misconfigured")
