"""GitHub, as one App and one installation of it see it in one call."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from stella_contracts.answers import answer_of
from stella_contracts.plugin import Steps
from stella_plugin_github_app.answers import (
    NAME,
    MintedToken,
    clock_difference,
    date_of,
    raise_for_installation,
)
from stella_plugin_github_app.private_key import AppKey
from stella_plugin_github_app.settings import GitHubAppSettings
from stella_plugin_github_app.tokens import InstallationToken, InstallationTokens

API_VERSION = "2022-11-28"

NEW_TOKEN_PAUSES = (1.0, 2.0)
"""A new token may be unknown to some of GitHub's servers for up to five seconds."""


class GitHub:
    """Asks with the credential that a question wants, and makes it where there is none."""

    def __init__(
        self,
        settings: GitHubAppSettings,
        key: AppKey,
        http: httpx.AsyncClient,
        tokens: InstallationTokens,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._key = key
        self._http = http
        self._tokens = tokens
        self._now = now
        self._sleep = sleep
        self._place: tuple[Any, ...] = (
            settings.api_root,
            str(settings.app_id),
            settings.installation_id,
            repr(settings.narrowing),
            key.fingerprint,
        )
        self.clock_ahead_seconds = 0.0
        """By how much our clock is ahead, where that made GitHub refuse it."""

    async def as_app(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> httpx.Response:
        """Ask as the App. If GitHub refuses our clock, once more by its own."""
        response = await self._send(method, path, self._app_token(), body)
        ahead = clock_difference(response, self._now())
        if ahead is None or self.clock_ahead_seconds:
            return response
        self.clock_ahead_seconds = ahead
        return await self._send(method, path, self._app_token(), body)

    async def as_installation(
        self, method: str, path: str, steps: Steps, body: Mapping[str, object] | None = None
    ) -> httpx.Response:
        """Ask as the installation. A token that is refused is replaced once."""
        token = self._tokens.find(self._place)
        if token is not None:
            response = await self._send(method, path, token.text, body)
            if response.status_code != httpx.codes.UNAUTHORIZED:
                return response
            self._tokens.drop(self._place)
        with steps.step("installation_token"):
            token = await self._mint()
        response = await self._send(method, path, token.text, body)
        for pause in NEW_TOKEN_PAUSES:
            if response.status_code != httpx.codes.UNAUTHORIZED:
                return response
            await self._sleep(pause)
            response = await self._send(method, path, token.text, body)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._tokens.drop(self._place)
        return response

    async def _mint(self) -> InstallationToken:
        path = f"/app/installations/{self._settings.installation_id}/access_tokens"
        response = await self.as_app("POST", path, self._settings.narrowing or None)
        raise_for_installation(response)
        minted = answer_of(response, MintedToken, NAME)
        # By GitHub's clock: ours may differ, and then no token would ever be good.
        there = date_of(response)
        started = there.timestamp() if there else self._now()
        lives = minted.expires_at.timestamp() - started
        self._tokens.keep(self._place, minted.token, lives_seconds=lives)
        return InstallationToken(minted.token)

    def _app_token(self) -> str:
        return self._key.token(self._settings.app_id, self._now() - self.clock_ahead_seconds)

    async def _send(
        self, method: str, path: str, token: str, body: Mapping[str, object] | None = None
    ) -> httpx.Response:
        return await self._http.request(
            method,
            f"{self._settings.api_root}{path}",
            json=body,
            headers={
                "Authorization": f"Bearer {token}",
                # What the documentation recommends, and what the description has.
                "Accept": "application/vnd.github+json, application/json",
                "X-GitHub-Api-Version": API_VERSION,
            },
        )
