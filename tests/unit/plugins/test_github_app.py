"""The GitHub connector against a GitHub of canned answers that checks what it is sent."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.app_key import app_key, app_key_pem
from tests.support.checked import Checked, checked

from stella_contracts.plugin import Secret
from stella_contracts.testing import Provider
from stella_plugin_github_app.plugin import GitHubAppPlugin
from stella_plugin_github_app.tokens import LIMIT, InstallationTokens

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
KEY = Secret({"value": app_key_pem()})
CONFIG = {"endpoint": "https://ghe.test", "appId": 17, "installationId": 42}
HEALTHY = ("healthy", None)
REJECTED = ("unhealthy", "auth_rejected")
TOKENS = "/app/installations/42/access_tokens"
BAD_EXP = (
    "'Expiration time' claim ('exp') must be a numeric value representing the future time at"
    " which the assertion expires"
)
BAD_IAT = (
    "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was"
    " issued"
)


def said(status: int, message: str, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"message": message, "status": str(status)}, headers=sent)


def limits(remaining: int, reset_in: int = 600) -> httpx.Response:
    reset = int(NOW.timestamp()) + reset_in
    core = {"limit": 5000, "used": 5000 - remaining, "remaining": remaining, "reset": reset}
    return httpx.Response(200, json={"resources": {"core": core}, "rate": core})


class GitHub:
    """An Enterprise Server with a clock, an App and an installation of it."""

    def __init__(self, **answers: httpx.Response) -> None:
        self.now = NOW
        self.answers = answers
        self.minted: list[Any] = []
        """The bodies of the requests for tokens."""
        self.refuses: set[str] = set()
        self.paths: list[str] = []
        self.provider = Provider(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = self._found(request)
        answer.headers.setdefault("Date", format_datetime(self.now, usegmt=True))
        return answer

    def _found(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v3")
        self.paths.append(path)
        assert request.url.path == f"/api/v3{path}"
        assert request.headers["X-GitHub-Api-Version"] == "2022-11-28"
        scheme, _, token = request.headers["Authorization"].partition(" ")
        assert scheme == "Bearer"
        if path == "/rate_limit":
            return self._as_installation(token)
        refusal = self._refusal_of_app(token)
        if refusal is not None:
            return refusal
        if path == TOKENS:
            return self._mint(request)
        assert (request.method, path) == ("GET", "/app")
        return self.answers.get("app") or httpx.Response(200, json={"id": 17, "slug": "x"})

    def _refusal_of_app(self, token: str) -> httpx.Response | None:
        claims = jwt.decode(
            token,
            app_key().public_key(),
            ["RS256"],
            options={"verify_exp": False, "verify_iat": False},
        )
        assert claims["iss"] == "17"
        assert claims["exp"] - claims["iat"] <= 600
        now = self.now.timestamp()
        if not now < claims["exp"] <= now + 600:
            return said(401, BAD_EXP)
        return said(401, BAD_IAT) if claims["iat"] > now else None

    def _mint(self, request: httpx.Request) -> httpx.Response:
        if "token" in self.answers:
            return self.answers["token"]
        self.minted.append(request.content)
        ends = self.now + timedelta(hours=1)
        token = f"ghs_17_{len(self.minted)}"
        return httpx.Response(201, json={"token": token, "expires_at": ends.isoformat()})

    def _as_installation(self, token: str) -> httpx.Response:
        assert token.startswith("ghs_17_")
        if token in self.refuses:
            return said(401, "Bad credentials")
        return self.answers.get("rate_limit") or limits(4999)


class Hub:
    """A plugin as a worker keeps it, with clocks that a test moves."""

    def __init__(self) -> None:
        self.clock_ahead = timedelta()
        self.elapsed = 0.0
        self.slept: list[float] = []
        self.github = GitHub()
        self.plugin = GitHubAppPlugin(
            now=lambda: (self.github.now + self.clock_ahead).timestamp(),
            tokens=InstallationTokens(clock=lambda: self.elapsed),
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def pass_time(self, **duration: float) -> None:
        self.elapsed += timedelta(**duration).total_seconds()
        self.github.now += timedelta(**duration)

    async def check(self, secret: Secret | None = KEY, **config: Any) -> Checked:
        return await checked(self.plugin, CONFIG | config, secret, transport=self.github.provider)


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


async def test_token_is_used_until_shortly_before_it_ends() -> None:
    hub = Hub()
    minted = []

    for minutes in (0, 54, 2, 54):
        hub.pass_time(minutes=minutes)
        assert (await hub.check()).finding == HEALTHY
        minted.append(len(hub.github.minted))

    assert minted == [1, 1, 2, 2]


async def test_token_is_good_for_who_asks_for_the_same_with_the_same_key_alone() -> None:
    hub = Hub()
    asked: list[dict[str, Any]] = [
        {},
        {"repositories": ["hello"]},
        {"permissions": {"contents": "read"}},
        {"endpoint": "https://ghe.test/api/v3/"},
    ]

    for config in asked:
        assert (await hub.check(**config)).finding == HEALTHY

    assert hub.github.minted == [
        b"",
        b'{"repositories":["hello"]}',
        b'{"permissions":{"contents":"read"}}',
    ]


async def test_token_of_one_key_is_not_lent_to_another() -> None:
    hub = Hub()
    await hub.check()

    # To who compares keys by their text, it is another one.
    await hub.check(Secret({"value": _pem(app_key(), serialization.PrivateFormat.PKCS8)}))

    assert len(hub.github.minted) == 2


async def test_revoked_token_is_replaced_without_a_word() -> None:
    hub = Hub()
    await hub.check()
    hub.github.refuses = {"ghs_17_1"}

    found = await hub.check()

    assert found.finding == HEALTHY
    assert (len(hub.github.minted), hub.slept) == (2, [])


async def test_new_token_is_given_time_to_become_known_and_then_up() -> None:
    hub = Hub()
    hub.github.refuses = {"ghs_17_1"}

    found = await hub.check()
    hub.github.refuses = set()
    await hub.check()

    assert found.finding == REJECTED
    assert hub.slept == [1.0, 2.0]
    assert len(hub.github.minted) == 2, "a token that was refused is not kept"


async def test_token_of_the_past_is_used_once_and_not_kept() -> None:
    """The vendor's own example ends in 2016."""
    hub = Hub()
    stale = {"token": "ghs_17_0", "expires_at": "2016-07-11T22:14:10Z"}
    hub.github.answers = {"token": httpx.Response(201, json=stale)}

    assert (await hub.check()).finding == HEALTHY
    assert (await hub.check()).finding == HEALTHY
    assert hub.github.paths.count(TOKENS) == 2


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


def _pem(key: Any, form: serialization.PrivateFormat, passphrase: bytes | None = None) -> str:
    how = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, form, how)
    return pem.decode()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"anything": app_key_pem()}, id="one value"),
        pytest.param({"private_key": app_key_pem(), "app_id": "17"}, id="a field"),
        pytest.param({"value": _pem(app_key(), serialization.PrivateFormat.PKCS8)}, id="PKCS #8"),
        pytest.param({"value": app_key_pem().replace("\n", "\\n")}, id="on one line"),
    ],
)
async def test_key_is_read_in_every_form_that_it_comes_in(fields: dict[str, str]) -> None:
    assert (await Hub().check(Secret(fields))).finding == HEALTHY


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("hunter2", id="a password"),
        pytest.param("-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END", id="half a key"),
        pytest.param(
            _pem(ec.generate_private_key(ec.SECP256R1()), serialization.PrivateFormat.PKCS8),
            id="no RSA key",
        ),
        pytest.param(
            _pem(app_key(), serialization.PrivateFormat.PKCS8, b"hunter2"), id="with a passphrase"
        ),
        pytest.param(
            app_key()
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode(),
            id="the public key",
        ),
    ],
)
async def test_what_is_no_key_of_an_app_is_said_before_anything_is_asked(text: str) -> None:
    hub = Hub()

    found = await hub.check(Secret({"value": text}))

    assert found.finding == ("unhealthy", "secret_unresolvable")
    assert hub.github.paths == []
    assert "hunter2" not in found.told


async def test_integration_without_a_key_is_told_so() -> None:
    found = await Hub().check(None)

    assert found.finding == ("unhealthy", "misconfigured")


def test_tokens_are_bounded_and_shown_to_nobody() -> None:
    tokens = InstallationTokens(clock=lambda: 0.0)

    for number in range(LIMIT + 1):
        tokens.keep(number, "ghs_17_1", lives_seconds=3600)

    assert tokens.find(0) is None
    found = tokens.find(LIMIT)
    assert found is not None
    assert found.text == "ghs_17_1"
    assert repr(tokens) == f"InstallationTokens(kept={LIMIT})"
    assert "ghs_" not in repr(found)


def test_token_of_a_clock_gone_wild_is_kept_for_an_hour_at_most() -> None:
    elapsed = 0.0
    tokens = InstallationTokens(clock=lambda: elapsed)
    tokens.keep("x", "ghs_17_1", lives_seconds=1e9)

    elapsed = 3299.0
    assert tokens.find("x") is not None
    elapsed = 3301.0
    assert tokens.find("x") is None
