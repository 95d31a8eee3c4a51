"""The settings that every process has, from environment variables named `STELLA_…`."""

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _json_or_empty(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except ValueError:
        raise ValueError('It must be JSON such as {"acme": ["vault/ci/acme"]}.') from None


Rules = Annotated[dict[str, list[str]], NoDecode, BeforeValidator(_json_or_empty)]


class ProcessSettings(BaseSettings):
    """Typed and checked at start. A process with a wrong one does not start."""

    model_config = SettingsConfigDict(env_prefix="STELLA_", extra="ignore", frozen=True)

    environment: Literal["production", "embedded"] = Field(
        default="production",
        description="`embedded` allows what only development may have: secrets from env and file.",
    )
    database_url: SecretStr = Field(
        description="postgresql://user:password@host/stellaops_integrations"
    )
    database_pool_size: Annotated[int, Field(ge=1, le=200)] = Field(
        default=10,
        description="Connections that one process may hold; the API has four more, for reads.",
    )
    authref_policy: Rules = Field(
        default={},
        description="What the authRefUris of a tenant may name, as JSON; `*`: of the other"
        " tenants. Empty: every tenant everything.",
    )
    amqp_url: SecretStr = Field(description="amqp://user:password@host/vhost")
    host: str = Field(
        default="127.0.0.1", description="Where the API, or the probes of a worker, listen."
    )
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8080, description="0: a free one.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is logged."
    )
    metrics_tenants: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=500,
        description="Tenants with metrics of their own; those beyond share the label `_other`.",
    )
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = Field(
        default=25, description="How long what runs may take to finish after SIGTERM."
    )
