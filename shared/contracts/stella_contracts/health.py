"""What a check can find, and how it is told."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from stella_contracts.model import Answer, UtcDatetime


class HealthStatus(StrEnum):
    """What one check found."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """It works, but not as it should: a component is down, a limit is reached."""
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    """The check could not tell, and that is nobody's outage (`not_supported`)."""


class IntegrationStatus(StrEnum):
    """What the catalog says of an integration, after hysteresis."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    DISABLED = "disabled"


class ErrorCode(StrEnum):
    """Why a check was not healthy. A closed list: behaviour depends on it."""

    AUTH_REJECTED = "auth_rejected"
    PERMISSION_MISSING = "permission_missing"
    NOT_FOUND = "not_found"
    RATE_LIMITED = "rate_limited"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    REMOTE_ERROR = "remote_error"
    BAD_RESPONSE = "bad_response"
    SECRET_UNRESOLVABLE = "secret_unresolvable"  # noqa: S105 - a code, not a secret
    BLOCKED_BY_POLICY = "blocked_by_policy"
    MISCONFIGURED = "misconfigured"
    PLUGIN_ERROR = "plugin_error"
    NOT_SUPPORTED = "not_supported"
    CREDENTIAL_EXPIRING = "credential_expiring"


class IncidentScope(StrEnum):
    """What several outages may have in common."""

    HOST = "host"
    """The origin of their endpoints does not answer as it should."""
    VAULT = "vault"
    """Their secrets cannot be read from the vault that they name."""


class CheckTrigger(StrEnum):
    """Who asked for a check."""

    SCHEDULE = "schedule"
    ON_DEMAND = "on_demand"
    DRAFT = "draft"


class StepResult(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Step(Answer):
    """
    One part of a check: `resolve_secret`, `connect`, `tls`, `request`, `authenticate`,
    `permissions`, and what a plugin adds.
    """

    name: str = Field(max_length=64)
    result: StepResult
    ms: float = Field(default=0, ge=0, description="How long it took, in milliseconds.")


class HealthResult(Answer):
    """What a plugin answers. Unhealthy is a result; an exception means the plugin is broken."""

    status: HealthStatus
    error_code: ErrorCode | None = None
    error_message: str | None = Field(
        default=None,
        max_length=500,
        description="Safe to show: no secret, no body of the provider.",
    )
    retry_after_seconds: float | None = Field(
        default=None, ge=0, description="The provider asked not to be called before (429)."
    )

    credential_expires_at: UtcDatetime | None = Field(
        default=None, description="When the credential stops working, if the provider tells."
    )

    @classmethod
    def healthy(cls, *, credential_expires_at: datetime | None = None) -> "HealthResult":
        return cls(status=HealthStatus.HEALTHY, credential_expires_at=credential_expires_at)

    @classmethod
    def degraded(cls, code: ErrorCode, message: str) -> "HealthResult":
        return cls(status=HealthStatus.DEGRADED, error_code=code, error_message=message)

    @classmethod
    def unhealthy(cls, code: ErrorCode, message: str) -> "HealthResult":
        return cls(status=HealthStatus.UNHEALTHY, error_code=code, error_message=message)


class PendingCheck(Answer):
    """A check that was asked for and has not finished."""

    check_id: UUID
    integration_id: UUID
    state: Literal["pending"] = "pending"
    trigger: CheckTrigger
    requested_at: UtcDatetime


class FinishedCheck(Answer):
    """A check and what it found."""

    check_id: UUID
    integration_id: UUID
    state: Literal["finished"] = "finished"
    trigger: CheckTrigger
    status: HealthStatus
    error_code: ErrorCode | None = None
    error_message: str | None = None
    latency_ms: int = Field(ge=0, description="From the first to the last step, in milliseconds.")
    checked_at: UtcDatetime
    steps: list[Step] = []


class FinishedDraft(Answer):
    """What a check of a draft found. It is in no history, and of no integration."""

    check_id: UUID
    integration_id: None = None
    state: Literal["finished"] = "finished"
    trigger: CheckTrigger = CheckTrigger.DRAFT
    status: HealthStatus
    error_code: ErrorCode | None = None
    error_message: str | None = None
    latency_ms: int = Field(ge=0, description="From the first to the last step, in milliseconds.")
    checked_at: UtcDatetime
    steps: list[Step] = []


class ExpiredCheck(Answer):
    """A check that was asked for and never finished: nothing ran it in time."""

    check_id: UUID
    integration_id: UUID
    state: Literal["expired"] = "expired"
    trigger: CheckTrigger
    requested_at: UtcDatetime


Check = Annotated[PendingCheck | FinishedCheck | ExpiredCheck, Field(discriminator="state")]
"""A check in any state; `state` tells which."""


class CheckAccepted(Answer):
    """The check will run, or is running already; look at `status_url` for its result."""

    check_id: UUID
    status_url: str


class Incident(Answer):
    """One outage of one integration, from its opening to its end."""

    id: UUID
    opened_at: UtcDatetime
    error_code: ErrorCode | None = None
    error_message: str | None = None
    parent_id: UUID | None = Field(
        default=None,
        description="The incident of the host or vault that this outage is a part of.",
    )


class Rollup(Answer):
    """What the checks of one hour or day found."""

    starting_at: UtcDatetime
    checks: int
    healthy: int
    degraded: int
    unhealthy: int
    unknown: int
    average_latency_ms: float
    max_latency_ms: int


class Transition(Answer):
    """One change of an integration's status, after hysteresis."""

    at: UtcDatetime
    previous_status: IntegrationStatus
    status: IntegrationStatus
    error_code: ErrorCode | None = None
    incident_id: UUID | None = Field(
        default=None, description="The incident that the change opened or resolved."
    )


class TransitionPage(Answer):
    """A page of changes of status, newest first."""

    items: list[Transition]
    next_cursor: str | None = None


class History(Answer):
    """A page of checks (`resolution=raw`) or of roll-ups, newest first."""

    items: list[FinishedCheck] | list[Rollup]
    next_cursor: str | None = None


class Health(Answer):
    """How an integration is now, and how it was."""

    integration_id: UUID
    status: IntegrationStatus
    since: UtcDatetime
    consecutive_failures: int
    consecutive_successes: int
    incident: Incident | None = None
    last_check: FinishedCheck | None = None
    last_healthy_at: UtcDatetime | None = None
    next_check_at: UtcDatetime | None = Field(
        default=None, description="When it is due next; null while it is disabled."
    )
    flapping: bool = Field(
        default=False,
        description="It changes too often: until it calms, changes are not announced one by one.",
    )
    muted_until: UtcDatetime | None = Field(
        default=None, description="Until then no alert of it is sent; null if it is not muted."
    )
    history: History
