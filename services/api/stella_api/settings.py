"""The environment variables of the API."""

import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from stella_runtime.settings import ProcessSettings

_OF_CALLERS = ("jwks_url", "issuer", "audience")
_OF_GATEWAYS = tuple(f"gateway_{name}" for name in _OF_CALLERS)


def _named(description: str) -> Any:
    return Field(default="", validate_default=True, description=description)


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whose word on a caller is taken: whoever signs it, and for whom it must be meant."""

    jwks_url: str
    issuer: str
    audience: str


class ApiSettings(ProcessSettings):
    """What the API needs to know."""

    identity: Literal["token", "gateway"] = Field(
        default="token",
        description="Who says who is calling: the caller's `token`, or the `gateway`'s assertion.",
    )
    jwks_url: str = _named("Where the Authority publishes the keys of its tokens (JWKS).")
    issuer: str = _named("The `iss` that a token must have.")
    audience: str = _named("The `aud` that a token must have.")
    gateway_jwks_url: str = _named("Where the gateway publishes the keys of its assertions (JWKS).")
    gateway_issuer: str = _named("The `iss` that an assertion must have.")
    gateway_audience: str = _named("The `aud` that an assertion must have.")
    tenant_claim: str = Field(default="tenant", description="The claim that names the tenant.")
    cursor_key: SecretStr | None = Field(
        default=None,
        description="Signs cursors; the same in every replica, 32 characters or more.",
    )
    max_body_bytes: Annotated[int, Field(ge=1024, le=16 * 1024 * 1024)] = Field(
        default=256 * 1024, description="What a request's body may have, in bytes."
    )
    body_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        default=30, description="How long a request's body may take to arrive, in seconds."
    )
    tenant_requests_per_minute: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        default=120_000, description="Requests that one process serves one tenant in a minute."
    )
    event_streams: Annotated[int, Field(ge=1, le=900)] = Field(
        default=200, description="Streams of events that one process serves at once."
    )
    event_streams_per_tenant: Annotated[int, Field(ge=1, le=900)] = Field(
        default=20, description="Of those, how many one tenant may have."
    )
    event_heartbeat_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        default=15, description="How long a stream may be silent, in seconds."
    )
    event_stall_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        default=20, description="How long a subscriber may take nothing, in seconds."
    )

    @model_validator(mode="after")
    def _production_names_its_key(self) -> Self:
        given = self.cursor_key.get_secret_value() if self.cursor_key else ""
        if self.environment == "production" and len(given) < 32:
            raise ValueError("STELLA_CURSOR_KEY must be set, to 32 characters or more.")
        return self

    @field_validator(*_OF_CALLERS, *_OF_GATEWAYS)
    @classmethod
    def _whoever_is_trusted_is_named(cls, value: str, info: ValidationInfo) -> str:
        needed = _OF_GATEWAYS if info.data.get("identity") == "gateway" else _OF_CALLERS
        if not value and info.field_name in needed:
            raise ValueError("It must be set: callers are known by it.")
        return value

    @property
    def trusted(self) -> Trusted:
        """Whose word on a caller is taken."""
        if self.identity == "gateway":
            return Trusted(self.gateway_jwks_url, self.gateway_issuer, self.gateway_audience)
        return Trusted(self.jwks_url, self.issuer, self.audience)

    @property
    def signing_key(self) -> str:
        """The key for cursors. Embedded, a new one for each process will do."""
        return self.cursor_key.get_secret_value() if self.cursor_key else secrets.token_hex(32)
