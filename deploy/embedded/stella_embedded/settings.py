"""The environment variables of the embedded system."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PRIVATE_NETWORKS = tuple(
    ip_network(network)
    for network in ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
"""What a laptop may reach. In production nothing private is reachable unless it is listed."""

REPOSITORY = Path(__file__).parents[3]


class EmbeddedSettings(BaseSettings):
    """What `make up` may be told."""

    model_config = SettingsConfigDict(env_prefix="STELLA_", extra="ignore", frozen=True)

    # Not for production, whatever else it was told: it hands out tokens.
    environment: Literal["embedded"] = "embedded"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    folder: Path = Field(
        default=REPOSITORY / ".local", description="Where data, key, log and dev.env are kept."
    )
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    tenant: str = Field(default="acme", description="The tenant of the printed token.")
