"""What GitHub answers, and what its refusals mean."""

from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Annotated

import httpx
from pydantic import AwareDatetime, BaseModel, StringConstraints, ValidationError

from stella_contracts.failures import RateLimited, raise_for_status, retry_after
from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed

NAME = "GitHub"
SECONDARY_LIMIT_SECONDS = 60.0
"""Source: github/docs, rate-limits-for-the-rest-api: at least a minute where it says nothing."""

_LIMITING = {httpx.codes.FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS}
# Source: octokit/auth-app.js, src/hook.ts.
_ABOUT_THE_CLOCK = ("'Expiration time' claim ('exp')", "'Issued at' claim ('iat')")


class App(BaseModel):
    """Body of `GET /app`."""

    id: int


class MintedToken(BaseModel):
    """Body of `POST /app/installations/{id}/access_tokens`."""

    # Their form has changed before, so only what a header cannot carry is refused.
    token: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,4096}$")]
    expires_at: AwareDatetime


class RateLimit(BaseModel):
    """Body of `GET /rate_limit`, as far as it is about the REST API."""

    class Resources(BaseModel):
        class Core(BaseModel):
            limit: int
            remaining: int
            reset: int

        core: Core

    resources: Resources


class _Refusal(BaseModel):
    message: str


def raise_for_github(response: httpx.Response) -> None:
    """Raise CheckFailed, as GitHub means it, unless the answer is a success."""
    if response.status_code in _LIMITING and _is_limit(response):
        pause = retry_after(response, reset_header="x-ratelimit-reset")
        raise RateLimited(SECONDARY_LIMIT_SECONDS if pause is None else pause)
    raise_for_status(response)


def raise_for_installation(response: httpx.Response) -> None:
    """The same for a request for an installation's token."""
    status, said = response.status_code, message_of(response)
    if status == httpx.codes.FORBIDDEN and "suspended" in said:
        raise CheckFailed(
            ErrorCode.PERMISSION_MISSING, "HTTP 403: The installation of the App is suspended"
        )
    if status == httpx.codes.NOT_FOUND:
        raise CheckFailed(
            ErrorCode.NOT_FOUND,
            "HTTP 404: The App has no such installation. It was uninstalled, or installationId"
            " is that of another App",
        )
    if status == httpx.codes.UNPROCESSABLE_ENTITY:
        raise CheckFailed(
            ErrorCode.PERMISSION_MISSING,
            "HTTP 422: The installation was not granted all that repositories and permissions"
            " of the config ask for",
        )
    raise_for_github(response)


def clock_difference(response: httpx.Response, now: float) -> float | None:
    """
    Seconds by which our clock is ahead, if that is why GitHub refuses; None otherwise.

    Its own clock is in the header Date.
    """
    refused = response.status_code == httpx.codes.UNAUTHORIZED
    if not refused or not message_of(response).startswith(_ABOUT_THE_CLOCK):
        return None
    there = date_of(response)
    return None if there is None else now - there.timestamp()


def date_of(response: httpx.Response) -> datetime | None:
    """The provider's clock when it answered, or None if it does not say."""
    try:
        found = parsedate_to_datetime(response.headers.get("date", ""))
    except (ValueError, OverflowError):
        return None
    return None if found.tzinfo is None else found


def message_of(response: httpx.Response) -> str:
    """To be compared with what GitHub is known to say, and never shown."""
    try:
        return _Refusal.model_validate_json(response.content).message
    except ValidationError:
        return ""


def _is_limit(response: httpx.Response) -> bool:
    is_used_up = response.headers.get("x-ratelimit-remaining") == "0"
    asks_for_a_pause = "retry-after" in response.headers
    is_429 = response.status_code == httpx.codes.TOO_MANY_REQUESTS
    return (
        is_used_up
        or asks_for_a_pause
        or is_429
        or "secondary rate limit" in message_of(response).lower()
    )
