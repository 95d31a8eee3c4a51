"""Outbound webhooks: what clients send, what they get."""

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import httpx
from pydantic import AfterValidator, Field, StrictBool, StringConstraints, field_validator

from stella_contracts.auth_ref import AuthRefText
from stella_contracts.event_filters import is_type_or_prefix
from stella_contracts.integrations import Description
from stella_contracts.model import Answer, Request, UtcDatetime


def _callable(text: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise ValueError("It is not a URL.") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("It must begin with https:// or http://, and name a host.")
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError("Its port is none.")
    if url.userinfo:
        raise ValueError("It may hold no credentials. Receivers know us by the signature.")
    if url.fragment:
        raise ValueError("It may have no #fragment, which is never sent.")
    return text


def _known_type(text: str) -> str:
    if not is_type_or_prefix(text):
        raise ValueError("No type of event is called this or begins with it.")
    return text


def _distinct(types: list[str]) -> list[str]:
    return sorted(set(types))


Url = Annotated[
    str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=2000), AfterValidator(_callable)
]
EventTypes = Annotated[
    list[Annotated[str, StringConstraints(max_length=100), AfterValidator(_known_type)]],
    Field(
        max_length=50,
        description="Types, or the words that types begin with (`integration.alert`). Empty: all.",
    ),
    AfterValidator(_distinct),
]


class WebhookStatus(StrEnum):
    """How an endpoint is."""

    ACTIVE = "active"
    FAILING = "failing"
    """The last delivery failed. It is tried again."""
    DISABLED = "disabled"
    """By its owner (`enabled` is false), or by us (`disabledReason`)."""


class Webhook(Answer):
    """An endpoint that events are sent to."""

    id: UUID
    url: str
    description: str = ""
    event_types: list[str]
    enabled: bool
    """What its owner wants."""
    auth_ref_uri: str
    status: WebhookStatus
    disabled_reason: Literal["failing", "gone"] | None = None
    """Why we send nothing, though it is wanted: it failed for days, or answered 410."""
    disabled_at: UtcDatetime | None = None
    next_trial_at: UtcDatetime | None = None
    """When one delivery is tried, to find out whether a disabled one works again."""
    consecutive_failures: int
    failing_since: UtcDatetime | None = None
    last_success_at: UtcDatetime | None = None
    last_failure_at: UtcDatetime | None = None
    last_error: str | None = None
    created_at: UtcDatetime
    updated_at: UtcDatetime
    version: int


class WebhookPage(Answer):
    """Some endpoints, and where the next ones begin."""

    items: list[Webhook]
    next_cursor: str | None = None


class WebhookCreate(Request):
    """What registers an endpoint. `authRefUri` refers to the key that signs what is sent."""

    url: Url
    auth_ref_uri: AuthRefText
    event_types: EventTypes = []
    description: Description = ""
    enabled: StrictBool = True


class WebhookUpdate(Request):
    """
    What changes an endpoint. A field that is left out stays as it is. `enabled: true` also
    enables one that we have disabled.
    """

    url: Url | None = None
    auth_ref_uri: AuthRefText | None = None
    event_types: EventTypes | None = None
    description: Description | None = None
    enabled: StrictBool | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _nothing_can_be_removed(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("It may not be null. Leave it out to keep it as it is.")
        return value

    @property
    def changes(self) -> dict[str, Any]:
        """The fields that were sent, by their Python names."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class DeliveryState(StrEnum):
    """What became of an event for one endpoint."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up after the last attempt. It can be replayed."""
    DROPPED = "dropped"
    """Never sent: too much was waiting already. It can be replayed."""


class DeliveryAttempt(Answer):
    """One try, and how it went."""

    at: UtcDatetime
    status_code: int | None = None
    error: str | None = None
    """Null when the endpoint accepted it (2xx)."""
    latency_ms: int


class Delivery(Answer):
    """An event on its way to an endpoint. `eventId` is the `webhook-id` of every attempt."""

    id: UUID
    webhook_id: UUID
    event_id: UUID
    event_type: str
    subject: str
    state: DeliveryState
    tries: int
    """Attempts since it was queued, or replayed."""
    attempts: list[DeliveryAttempt]
    """The latest ones, oldest first."""
    next_attempt_at: UtcDatetime | None = None
    created_at: UtcDatetime
    finished_at: UtcDatetime | None = None


class DeliveryPage(Answer):
    """Some deliveries, newest first, and where the next ones begin."""

    items: list[Delivery]
    next_cursor: str | None = None


class ReplayRequest(Request):
    """Which deliveries to send again: those of events queued since a moment."""

    since: UtcDatetime
    only_failed: StrictBool = True
    """Leave out what was delivered."""


class ReplayAnswer(Answer):
    """How many were queued again. With `more`, ask again: only so many are at a time."""

    replayed: int
    more: bool
