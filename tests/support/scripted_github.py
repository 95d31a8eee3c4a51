"""A GitHub of canned answers that checks what it is sent, and a hub with clocks to be moved."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import jwt

from stella_contracts.plugin import Secret
from stella_contracts.testing import Provider
from stella_plugin_github_app.plugin import GitHubAppPlugin
from stella_plugin_github_app.tokens import InstallationTokens
from tests.support.app_key import app_key, app_key_pem
from tests.support.checked import Checked, checked

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
