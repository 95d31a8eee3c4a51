"""The environment variables of the health worker."""

import json
import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from stella_runtime.egress import Proxy
from stella_runtime.secrets import SecretSettings

LEAST_REMINDER_SECONDS = 300.0
LEAST_AUDIT_DAYS = 30
"""The database refuses less."""
AMQP_MANAGEMENT = 15672
"""RabbitMQ's port for its HTTP API, on the host of the bus."""

Days = Annotated[int, Field(ge=1, le=36500)]


class HealthWorkerSettings(SecretSettings):
    """What a worker or a scheduler needs to know."""

    role: Literal["worker", "scheduler", "all"] = Field(
        default="all", description="`worker` runs checks, `scheduler` says which are due."
    )
    concurrency: Annotated[int, Field(ge=1, le=5000)] = Field(
        default=200, description="Scheduled checks that one worker runs at once."
    )
    slow_concurrency: Annotated[int, Field(ge=1, le=5000)] = Field(
        default=400,
        description="Checks beside those, of targets that take long or did not answer before.",
    )
    host_concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=4, description="Scheduled checks of one host and port that one worker runs at once."
    )
    tenant_concurrency: Annotated[int, Field(ge=1, le=5000)] = Field(
        default=100, description="Scheduled checks of one tenant that one worker runs at once."
    )
    ondemand_concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=50, description="On-demand checks that one worker runs at once, beside those."
    )
    outbox_retention_hours: Annotated[float, Field(gt=0, le=24 * 365)] = Field(
        default=24,
        description="How long published events stay in the database, where GET /events resumes.",
    )
    lease_margin_seconds: Annotated[float, Field(ge=1, le=600)] = Field(
        default=30,
        description="How long after its timeout a claimed check may be given to another worker.",
    )
    alert_reminder_seconds: Annotated[float, Field(ge=0)] = Field(
        default=0, description="How often an open alert is repeated, from 300 on; 0: never."
    )
    audit_retention_days: Annotated[int, Field(ge=0, le=36500)] = Field(
        default=0,
        description="Days for which the audit log is kept, from 30 on; 0: for ever.",
    )
    history_raw_days: Days = Field(
        default=30, description="Days for which each check is kept; its day is dropped after that."
    )
    history_hourly_days: Days = Field(
        default=400, description="Days for which the hourly roll-ups are kept, whole months."
    )
    history_daily_days: Days = Field(
        default=1100, description="Days for which the daily roll-ups are kept, whole months."
    )
    history_transition_days: Days = Field(
        default=1100, description="Days for which the changes of status are kept, whole months."
    )
    egress_allow: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(),
        description="Private and loopback networks that checks may reach, parted by commas.",
    )
    egress_tenant_allow: Annotated[dict[str, tuple[IPv4Network | IPv6Network, ...]], NoDecode] = (
        Field(
            default={},
            description='More of them for single tenants, as JSON: {"acme": ["10.0.0.0/8"]}.',
        )
    )
    egress_proxy: SecretStr | None = Field(
        default=None,
        description="http://user:password@host:port, through which every connection is made.",
    )
    egress_canary: Annotated[tuple[tuple[str, int], ...], NoDecode] = Field(
        default=(),
        max_length=10,
        description="host:port, parted by commas: while none answers, failures are our own.",
    )
    send_traceparent: bool = Field(
        default=False,
        description="Whether checks tell the tools their trace, in the header traceparent.",
    )
    webhook_concurrency: Annotated[int, Field(ge=0, le=500)] = Field(
        default=20,
        description="Webhook endpoints that one worker calls at once; 0: it delivers none.",
    )
    webhook_disable_failures: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=30, description="Failures in a row after which a webhook may be disabled."
    )
    webhook_disable_days: Annotated[float, Field(ge=0, le=365)] = Field(
        default=3, description="And how long they must have lasted, in days."
    )
    webhook_log_days: Annotated[float, Field(gt=0, le=365)] = Field(
        default=7, description="How long deliveries are kept, in days."
    )
    worker_name: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        description="What the history calls this process.",
    )

    @property
    def lease_margin(self) -> timedelta:
        return timedelta(seconds=self.lease_margin_seconds)

    @property
    def proxy(self) -> Proxy | None:
        if self.egress_proxy is None:
            return None
        return Proxy.parse(self.egress_proxy.get_secret_value())

    @property
    def own_endpoints(self) -> Iterator[tuple[str, int]]:
        """Host and port of what belongs to this hub, as far as its settings tell."""
        places = [
            _place(self.database_url.get_secret_value(), 5432),
            bus := _place(self.amqp_url.get_secret_value(), 5672),
            bus and (bus[0], AMQP_MANAGEMENT),
            _place(str(self.vault_url), 443) if self.vault_url else None,
        ]
        yield from (place for place in places if place is not None)
        if self.port:
            yield self.host, self.port

    @field_validator("egress_proxy")
    @classmethod
    def _is_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            Proxy.parse(value.get_secret_value())
        return value

    @field_validator("alert_reminder_seconds")
    @classmethod
    def _not_too_often(cls, value: float) -> float:
        if 0 < value < LEAST_REMINDER_SECONDS:
            raise ValueError(f"It must be 0, or {LEAST_REMINDER_SECONDS:g} at least.")
        return value

    @field_validator("audit_retention_days")
    @classmethod
    def _not_too_soon(cls, value: int) -> int:
        if 0 < value < LEAST_AUDIT_DAYS:
            raise ValueError(f"It must be 0, for ever, or {LEAST_AUDIT_DAYS} at least.")
        return value

    @property
    def audit_kept(self) -> timedelta | None:
        """How long entries of the audit log are kept; None for ever."""
        return timedelta(days=self.audit_retention_days) or None

    @model_validator(mode="after")
    def _coarser_is_kept_longer(self) -> Self:
        if not self.history_raw_days <= self.history_hourly_days <= self.history_daily_days:
            raise ValueError(
                "Roll-ups outlive what they are made of: STELLA_HISTORY_RAW_DAYS is at most"
                " STELLA_HISTORY_HOURLY_DAYS, and that at most STELLA_HISTORY_DAILY_DAYS."
            )
        return self

    @field_validator("egress_canary", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = [part.strip().rpartition(":") for part in value.split(",") if part.strip()]
        return tuple((host.strip("[]"), port) for host, _, port in parts)

    @field_validator("egress_canary")
    @classmethod
    def _complete(cls, value: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
        if any(not host or not 0 < port < 65536 for host, port in value):
            raise ValueError("Write each as host:port, such as example.com:443.")
        return value

    @field_validator("egress_tenant_allow", mode="before")
    @classmethod
    def _by_tenant(cls, value: object) -> object:
        return json.loads(value or "{}") if isinstance(value, str) else value

    @field_validator("egress_allow", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())


def _place(url: str, usual_port: int) -> tuple[str, int] | None:
    """Host and port of a URL; None where it names a socket of this machine."""
    parts = urlsplit(url)
    return (parts.hostname, parts.port or usual_port) if parts.hostname else None
