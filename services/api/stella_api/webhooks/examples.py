"""Examples of webhooks for the description of the API."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from stella_contracts.errors import (
    DeliveryNotFound,
    StellaError,
    TooManyWebhooks,
    WebhookDisabled,
    WebhookNotFound,
)
from stella_contracts.messages import EventType
from stella_contracts.webhooks import (
    Delivery,
    DeliveryAttempt,
    DeliveryPage,
    DeliveryState,
    ReplayAnswer,
    Webhook,
    WebhookPage,
    WebhookStatus,
)

_HOOK = UUID("0198c0de-0000-7000-8000-00000000000a")
_SUBJECT = UUID("0198c0de-0000-7000-8000-000000000001")
_EVENT_ID = UUID("0198c0de-0000-7000-8000-00000000000c")
_CURSOR = "WyIwMTk4YzBkZSJd.aSW9qA.k3J9"
_REGISTERED = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
_FAILED = datetime(2026, 11, 24, 11, 30, tzinfo=UTC)

_WEBHOOK = Webhook(
    id=_HOOK,
    url="https://pager.example/hooks/stella",
    description="On-call",
    event_types=["integration.alert"],
    enabled=True,
    auth_ref_uri="authref://vault/hooks/pager#key",
    status=WebhookStatus.FAILING,
    consecutive_failures=1,
    failing_since=_FAILED,
    last_success_at=_REGISTERED,
    last_failure_at=_FAILED,
    last_error="HTTP 503",
    created_at=_REGISTERED,
    updated_at=_REGISTERED,
    version=1,
)
_DELIVERY = Delivery(
    id=UUID("0198c0de-0000-7000-8000-00000000000b"),
    webhook_id=_HOOK,
    event_id=_EVENT_ID,
    event_type=EventType.ALERT_OPENED,
    subject=str(_SUBJECT),
    state=DeliveryState.PENDING,
    tries=1,
    attempts=[DeliveryAttempt(at=_FAILED, status_code=503, error="HTTP 503", latency_ms=34)],
    next_attempt_at=_FAILED,
    created_at=_FAILED,
)

BODIES: dict[str, Any] = {
    "pager": {
        "summary": "Alerts, signed with a key that a vault holds",
        "value": {
            "url": "https://pager.example/hooks/stella",
            "authRefUri": "authref://vault/hooks/pager#key",
            "eventTypes": ["integration.alert"],
        },
    }
}
CHANGES: dict[str, Any] = {
    "enable": {
        "summary": "Enable one that was disabled, by its owner or by us",
        "value": {"enabled": True},
    }
}

REPLAYS: dict[str, Any] = {
    "failed": {
        "summary": "What failed since the receiver broke",
        "value": {"since": "2026-11-24T11:00:00Z"},
    },
    "everything": {
        "summary": "Everything, also what was delivered",
        "value": {"since": "2026-11-24T11:00:00Z", "onlyFailed": False},
    },
}

ANSWERS: tuple[BaseModel, ...] = (
    _WEBHOOK,
    WebhookPage(items=[_WEBHOOK], next_cursor=_CURSOR),
    _DELIVERY,
    DeliveryPage(items=[_DELIVERY], next_cursor=_CURSOR),
    ReplayAnswer(replayed=12, more=False),
)
ERRORS: tuple[StellaError, ...] = (
    TooManyWebhooks(100),
    WebhookNotFound(_HOOK),
    DeliveryNotFound(_EVENT_ID),
    WebhookDisabled(),
)
