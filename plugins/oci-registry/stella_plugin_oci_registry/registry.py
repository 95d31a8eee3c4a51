"""A registry, as one call of the plugin sees it: asked, and logged in to where it wants that."""

from collections.abc import Mapping
from typing import Annotated

import httpx
from pydantic import BaseModel, Field, StringConstraints

from stella_contracts.answers import answer_of
from stella_contracts.failures import raise_for_status
from stella_contracts.health import ErrorCode
from stella_contracts.logins import basic_login_of
from stella_contracts.plugin import CheckFailed, Secret
from stella_plugin_oci_registry.challenges import Challenge, challenges_of
from stella_plugin_oci_registry.settings import RegistrySettings

_TokenText = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,65536}$")]
_FORWARDED = ("service", "scope")


class Token(BaseModel):
    """
    Body of a token service.

    Source: distribution/distribution, docs/content/spec/auth/token.md: either name will do.
    """

    token: _TokenText | None = None
    access_token: _TokenText | None = None


class RegistryErrors(BaseModel):
    """Body of a refusal, as the distribution specification has it."""

    class Entry(BaseModel):
        code: str

    errors: list[Entry] = Field(min_length=1)


class Registry:
    """One registry and one credential for it."""

    def __init__(
        self, settings: RegistrySettings, http: httpx.AsyncClient, secret: Secret | None
    ) -> None:
        """Raises CheckFailed for a secret that is no login."""
        self._settings = settings
        self._http = http
        self._login = basic_login_of(secret) if secret else None

    async def get(self, path: str, credential: Mapping[str, str] | None = None) -> httpx.Response:
        """Ask for a path below the API's root; the answer may be a refusal."""
        headers = {"Accept": "application/json", **(credential or {})}
        return await self._http.get(f"{self._settings.api_root}{path}", headers=headers)

    async def credential_for(self, refusal: httpx.Response) -> Mapping[str, str]:
        """
        The header that a refused request, or any, is to be sent again with.

        Raises CheckFailed if there is no way to log in that is safe, or the credential is
        refused.
        """
        challenges = {each.scheme: each for each in reversed(challenges_of(refusal))}
        if (bearer := challenges.get("bearer")) is not None:
            return {"Authorization": f"Bearer {await self._token(bearer)}"}
        if self._login is None:
            raise CheckFailed(
                ErrorCode.AUTH_REJECTED, "The registry wants a credential. Set authRefUri"
            )
        [sent] = self._login.auth_flow(self._http.build_request("GET", self._settings.api_root))
        return {"Authorization": sent.headers["Authorization"]}

    async def _token(self, challenge: Challenge) -> str:
        realm = self._realm_of(challenge)
        asked = {name: value for name, value in challenge.parameters.items() if name in _FORWARDED}
        response = await self._http.get(
            realm.copy_merge_params(asked),
            headers={"Accept": "application/json"},
            auth=self._login,
        )
        raise_for_status(response)
        answer = answer_of(response, Token, "a token service")
        token = answer.token or answer.access_token
        if token is None:
            raise CheckFailed(ErrorCode.BAD_RESPONSE, "The token service answers without a token")
        return token

    def _realm_of(self, challenge: Challenge) -> httpx.URL:
        """Where to ask for a token. What a registry writes there must not get the credential."""
        try:
            realm = httpx.URL(challenge.parameters.get("realm", ""))
        except (httpx.InvalidURL, ValueError):
            realm = httpx.URL()
        if not realm.host or realm.userinfo:
            raise CheckFailed(
                ErrorCode.BAD_RESPONSE, "The registry does not say where its tokens are to be had"
            )
        if not any(_has_origin(realm, origin) for origin in self._settings.token_origins):
            raise CheckFailed(
                ErrorCode.MISCONFIGURED,
                "The registry sends for tokens to another host, port or scheme. If that is right,"
                " set tokenEndpoint to the base URL of the realm in its WWW-Authenticate header",
            )
        return realm


def is_of_registry(answer: httpx.Response) -> bool:
    """
    Whether an answer shows by itself that a registry gave it.

    The header is of the first registries, and most still send it; errors have their form in
    the specification.
    """
    if answer.headers.get("docker-distribution-api-version", "").startswith("registry/2"):
        return True
    if not answer.is_client_error:
        return False
    try:
        errors = RegistryErrors.model_validate_json(answer.content).errors
    except ValueError:
        return False
    return errors[0].code in _ERROR_CODES


# Source: opencontainers/distribution-spec, spec.md, "Error Codes": those of reads.
_ERROR_CODES = {
    "DENIED",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "TOOMANYREQUESTS",
    "UNAUTHORIZED",
    "UNSUPPORTED",
}


def _has_origin(url: httpx.URL, origin: str) -> bool:
    allowed = httpx.URL(origin)
    return (url.scheme, url.raw_host, url.port) == (allowed.scheme, allowed.raw_host, allowed.port)
