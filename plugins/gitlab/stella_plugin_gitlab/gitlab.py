"""GitLab, as one who has a token sees it in one call."""

from collections.abc import Mapping

import httpx
from pydantic import ValidationError

from stella_contracts.answers import answer_of
from stella_contracts.failures import RateLimited, raise_for_status, retry_after
from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed, Secret
from stella_plugin_gitlab.tokens import AccessToken, Refusal, Version

NAME = "GitLab"
NO_SCOPE = "The token lacks the scope read_api or api, so projects cannot be listed"


class GitLab:
    """One GitLab and one token for it."""

    def __init__(self, root: str, http: httpx.AsyncClient, secret: Secret | None) -> None:
        if secret is None:
            raise CheckFailed(
                ErrorCode.MISCONFIGURED, "GitLab's API wants a token. Refer to one in authRefUri"
            )
        self._root = root
        self._http = http
        # Not PRIVATE-TOKEN: that takes no tokens of OAuth, and this takes both.
        self._headers = {"Authorization": f"Bearer {secret.value}", "Accept": "application/json"}

    async def find_token(self) -> AccessToken | None:
        """
        What GitLab knows of the token, whatever its scopes; None for a token of OAuth, and from
        a GitLab before 15.5, which do not tell.
        """
        response = await self.ask("GET", "/personal_access_tokens/self")
        if response.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.NOT_FOUND):
            return None
        raise_for_gitlab(response)
        token = answer_of(response, AccessToken, NAME)
        if token.revoked or not token.active:
            raise CheckFailed(ErrorCode.AUTH_REJECTED, "The token is revoked or has expired")
        return token

    async def tells_its_version(self, *, may_be_refused: bool) -> bool:
        """False if a token that is known to be good has too narrow a scope to ask."""
        response = await self.ask("GET", "/version")
        if may_be_refused and response.status_code == httpx.codes.FORBIDDEN:
            return False
        raise_for_gitlab(response)
        answer_of(response, Version, NAME)
        return True

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> httpx.Response:
        """The answer, which may be a refusal."""
        url = f"{self._root}{path}"
        return await self._http.request(method, url, params=query, json=body, headers=self._headers)


def raise_for_gitlab(response: httpx.Response) -> None:
    """Raise CheckFailed, as GitLab means it, unless the answer is a success."""
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        raise RateLimited(retry_after(response, reset_header="RateLimit-Reset"))
    if response.status_code == httpx.codes.FORBIDDEN and _lacks_scope(response):
        raise CheckFailed(ErrorCode.PERMISSION_MISSING, f"HTTP 403: {NO_SCOPE}")
    raise_for_status(response)


def _lacks_scope(response: httpx.Response) -> bool:
    try:
        return Refusal.model_validate_json(response.content).error == "insufficient_scope"
    except ValidationError:
        return False
