"""The environment variables of the API."""

import secrets
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator

from stella_runtime.settings import ProcessSettings


class ApiSettings(ProcessSettings):
    """What the API needs to know."""

    jwks_url: str = Field(description="Where the Authority publishes the keys of its tokens.")
    issuer: str = Field(description="The `iss` that a token must have.")
    audience: str = Field(description="The `aud` that a token must have.")
    tenant_claim: str = Field(default="tenant", description="The claim that names the tenant.")
    cursor_key: SecretStr | None = Field(
        default=None,
        description="Signs cursors; the same in every replica, 32 characters or more.",
    )
    max_body_bytes: Annotated[int, Field(ge=1024, le=16 * 1024 * 1024)] = Field(
        default=256 * 1024, description="What a request's body may have, in bytes."
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

    @property
    def signing_key(self) -> str:
        """The key for cursors. Embedded, a new one for each process will do."""
        return self.cursor_key.get_secret_value() if self.cursor_key else secrets.token_hex(32)
