"""The GitLab connector against canned answers."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.checked import Checked, checked

from stella_contracts.plugin import Secret
from stella_contracts.testing import Provider
from stella_plugin_gitlab.api_root import api_root_of
from stella_plugin_gitlab.plugin import GitLabPlugin

ROOT = "https://gitlab.test/api/v4"
TOKEN = Secret({"token": "glpat-hunter2"})
SELF, VERSION = f"{ROOT}/personal_access_tokens/self", f"{ROOT}/version"
DATE = "Tue, 24 Nov 2026 12:00:00 GMT"
NOON = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp())


def token(**fields: Any) -> httpx.Response:
    known = {"id": 4, "active": True, "revoked": False, "scopes": ["read_api"], "expires_at": None}
    return httpx.Response(200, json=known | fields)


def message(status: int, text: str, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"message": text}, headers=sent)


REFUSED = message(401, "401 Unauthorized")
NO_SCOPE = httpx.Response(
    403, json={"error": "insufficient_scope", "error_description": "x", "scope": "api read_api"}
)
OF_OAUTH = message(400, "This endpoint requires token type to be a personal access token")
VERSION_IS_TOLD = httpx.Response(200, json={"version": "18.6.0-ee", "revision": "f2b05afebb0"})
LOGIN_PAGE = httpx.Response(200, html="<title>Sign in</title>")


async def check(
    told: httpx.Response, version: httpx.Response = VERSION_IS_TOLD, secret: Secret | None = TOKEN
) -> tuple[Checked, Provider]:
    answers = {SELF: told, VERSION: version}
    provider = Provider(lambda request: answers[str(request.url)])
    endpoint = {"endpoint": "https://gitlab.test"}
    return await checked(GitLabPlugin(), endpoint, secret, transport=provider), provider


@pytest.mark.parametrize(
    ("told", "version", "finding"),
    [
        pytest.param(token(), VERSION_IS_TOLD, ("healthy", None), id="good"),
        pytest.param(token(scopes=["api"]), VERSION_IS_TOLD, ("healthy", None), id="may do all"),
        pytest.param(OF_OAUTH, VERSION_IS_TOLD, ("healthy", None), id="of OAuth"),
        pytest.param(
            message(404, "404 Not Found"), VERSION_IS_TOLD, ("healthy", None), id="an old GitLab"
        ),
        pytest.param(
            token(scopes=["read_user"]),
            VERSION_IS_TOLD,
            ("degraded", "permission_missing"),
            id="a scope too narrow to list",
        ),
        pytest.param(
            token(scopes=["read_registry"]),
            NO_SCOPE,
            ("degraded", "permission_missing"),
            id="a scope too narrow to ask",
        ),
        pytest.param(
            OF_OAUTH, NO_SCOPE, ("unhealthy", "permission_missing"), id="of OAuth, too narrow"
        ),
        pytest.param(REFUSED, REFUSED, ("unhealthy", "auth_rejected"), id="wrong"),
        pytest.param(OF_OAUTH, REFUSED, ("unhealthy", "auth_rejected"), id="of OAuth, wrong"),
        pytest.param(
            token(revoked=True), VERSION_IS_TOLD, ("unhealthy", "auth_rejected"), id="revoked"
        ),
        pytest.param(
            token(active=False), VERSION_IS_TOLD, ("unhealthy", "auth_rejected"), id="lapsed"
        ),
        pytest.param(
            message(403, "403 Forbidden - Your account has been blocked"),
            VERSION_IS_TOLD,
            ("unhealthy", "permission_missing"),
            id="of a blocked user",
        ),
        pytest.param(
            LOGIN_PAGE, LOGIN_PAGE, ("unhealthy", "bad_response"), id="a login page behind a 200"
        ),
        pytest.param(
            token(), LOGIN_PAGE, ("unhealthy", "bad_response"), id="and behind a good one"
        ),
        pytest.param(
            httpx.Response(502, html="GitLab is not responding"),
            VERSION_IS_TOLD,
            ("unhealthy", "remote_error"),
            id="starting",
        ),
        pytest.param(
            message(404, "x"), message(404, "x"), ("unhealthy", "not_found"), id="nothing there"
        ),
        pytest.param(
            httpx.Response(301, headers={"Location": "https://gitlab.test/new"}),
            VERSION_IS_TOLD,
            ("unhealthy", "misconfigured"),
            id="moved",
        ),
    ],
)
async def test_gitlab_is_found_to_be(
    told: httpx.Response, version: httpx.Response, finding: tuple[str, str | None]
) -> None:
    found, _ = await check(told, version)

    assert found.finding == finding
    assert "hunter2" not in found.told


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"Retry_After": "30", "RateLimit_Reset": str(NOON + 60)}, 30, id="both"),
        pytest.param({"RateLimit_Reset": str(NOON + 60), "Date": DATE}, 60, id="reset"),
        pytest.param({"RateLimit_Reset": str(NOON - 60), "Date": DATE}, 0, id="reset in the past"),
        pytest.param({"RateLimit_Reset": "9" * 30, "Date": DATE}, 3600, id="reset far away"),
        pytest.param({"RateLimit_Reset": "soon"}, None, id="nonsense"),
        pytest.param({}, None, id="neither"),
    ],
)
@pytest.mark.parametrize("late", [False, True], ids=["at once", "at the second request"])
async def test_rate_limit_is_no_outage_and_says_for_how_long(
    headers: dict[str, str], seconds: float | None, late: bool
) -> None:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    limited = httpx.Response(429, text="Retry later", headers=sent)

    found, _ = await (check(token(), limited) if late else check(limited))

    assert found.finding == ("degraded", "rate_limited")
    assert found.result.retry_after_seconds == seconds


@pytest.mark.parametrize(
    ("expires_at", "ends_at"),
    [
        pytest.param("2026-12-01", datetime(2026, 12, 1, tzinfo=UTC), id="a day"),
        pytest.param(None, None, id="never"),
    ],
)
@pytest.mark.parametrize("scopes", [["read_api"], ["read_user"]])
async def test_end_of_the_token_is_told(
    expires_at: str | None, ends_at: datetime | None, scopes: list[str]
) -> None:
    found, _ = await check(token(expires_at=expires_at, scopes=scopes))

    assert found.result.credential_expires_at == ends_at


async def test_token_is_in_every_request_and_in_no_address() -> None:
    _, provider = await check(token())

    assert [str(each.url) for each in provider.requests] == [SELF, VERSION]
    assert {each.headers["Authorization"] for each in provider.requests} == {"Bearer glpat-hunter2"}


async def test_integration_without_a_token_is_told_so_and_nothing_is_asked() -> None:
    found, provider = await check(token(), secret=None)

    assert found.finding == ("unhealthy", "misconfigured")
    assert "authRefUri" in (found.result.error_message or "")
    assert provider.requests == []


ACCEPTED = [
    ("https://gitlab.com", "https://gitlab.com/api/v4"),
    ("https://gitlab.com/", "https://gitlab.com/api/v4"),
    ("https://GitLab.com:443", "https://gitlab.com/api/v4"),
    ("https://gitlab.com/api/v4", "https://gitlab.com/api/v4"),
    ("https://gitlab.com/api/v4/", "https://gitlab.com/api/v4"),
    ("https://gitlab.test/gitlab", "https://gitlab.test/gitlab/api/v4"),
    ("https://gitlab.test/gitlab/", "https://gitlab.test/gitlab/api/v4"),
    ("https://gitlab.test/gitlab/api/v4", "https://gitlab.test/gitlab/api/v4"),
    ("https://gitlab.test/a/b", "https://gitlab.test/a/b/api/v4"),
    ("http://gitlab:8080", "http://gitlab:8080/api/v4"),
    ("http://gitlab:80/", "http://gitlab/api/v4"),
    ("https://10.0.0.7:8443", "https://10.0.0.7:8443/api/v4"),
    ("https://[::1]/gitlab", "https://[::1]/gitlab/api/v4"),
    ("https://gitlab.test/api/v4x", "https://gitlab.test/api/v4x/api/v4"),
    ("https://gitlab.test/api", "https://gitlab.test/api/api/v4"),
    ("https://bücher.test/git", "https://xn--bcher-kva.test/git/api/v4"),
    ("https://api/v4", "https://api/v4/api/v4"),
]


@pytest.mark.parametrize(("endpoint", "root"), ACCEPTED, ids=[each[0] for each in ACCEPTED])
async def test_endpoint_becomes_one_api_root(endpoint: str, root: str) -> None:
    result = await GitLabPlugin().validate_config({"endpoint": endpoint})

    assert result.connection is not None
    assert result.connection.api_root == root
    assert api_root_of(root) == root


@pytest.mark.parametrize(
    "endpoint",
    ["https://gitlab.test/api/graphql", "https://gitlab.test?private_token=hunter2", "gitlab.test"],
)
async def test_endpoint_that_cannot_work_is_refused(endpoint: str) -> None:
    [problem] = (await GitLabPlugin().validate_config({"endpoint": endpoint})).problems

    assert problem.pointer == "/endpoint"
    assert "hunter2" not in problem.detail


SEGMENTS = ["", "a", "api", "v4", "api/v4", "%2e", "ä"]


@given(
    st.sampled_from(["gitlab.test", "h:443", "[::1]:8443", "api"]),
    st.lists(st.sampled_from(SEGMENTS), max_size=5),
)
def test_endpoint_is_normalised_once_and_for_all(host: str, segments: list[str]) -> None:
    root = api_root_of(f"https://{host}/{'/'.join(segments)}")

    assert api_root_of(root) == root
    assert root.endswith("/api/v4")
