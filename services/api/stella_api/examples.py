"""Examples for the description of the API: built from the contracts, so that they stay true."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from stella_api.plugin_catalog import PluginNotReady
from stella_api.problems import document, document_of
from stella_api.strict_json import MalformedBody
from stella_api.webhooks import examples as webhooks
from stella_contracts.audit import AuditEntry, AuditPage, AuditVerification
from stella_contracts.bulk import ImportedLine, ImportOutcome, ImportProblem, ImportResult
from stella_contracts.errors import (
    BusUnavailable,
    CheckNotFound,
    ConfigRejected,
    DatabaseUnavailable,
    DraftUnanswered,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    IfMatchMissing,
    ImportRejected,
    IntegrationDisabled,
    IntegrationNotFound,
    KeysUnavailable,
    MalformedCursor,
    MalformedPrecondition,
    MuteNotFound,
    MuteRejected,
    NameTaken,
    PluginNotFound,
    Problem,
    ScopeMissing,
    StellaError,
    StreamsBusy,
    StreamsClosing,
    TenantMissing,
    TokenRejected,
    TooManyRequests,
    TooManyStreams,
    UnknownProvider,
    VersionMismatch,
)
from stella_contracts.health import (
    CheckAccepted,
    CheckTrigger,
    ErrorCode,
    FinishedCheck,
    FinishedDraft,
    Health,
    HealthStatus,
    History,
    Incident,
    IntegrationStatus,
    PendingCheck,
    Step,
    StepResult,
    Transition,
    TransitionPage,
)
from stella_contracts.integrations import Connection, Integration, IntegrationPage
from stella_contracts.messages import Alert, Event, EventType
from stella_contracts.mutes import Mute, MutePage
from stella_contracts.plugins import (
    Plugin,
    PluginList,
    PluginState,
    PluginTrust,
    ScanAccepted,
    ScanSummary,
)
from stella_runtime.persistence.driver_errors import RolesMissing, SchemaMissing

CREATE_BODIES: dict[str, Any] = {
    "harbor": {
        "summary": "A Harbor registry with a robot account",
        "value": {
            "type": "harbor",
            "name": "registry-eu",
            "config": {"endpoint": "https://harbor.example"},
            "authRefUri": "authref://vault/ci/harbor#robot",
            "tags": ["eu"],
        },
    },
    "in-memory": {
        "summary": "A scripted integration, for rehearsals",
        "value": {
            "type": "in-memory",
            "name": "rehearsal",
            "config": {"script": ["healthy", "degraded", "timeout"]},
        },
    },
}
UPDATE_BODIES: dict[str, Any] = {
    "interval": {"summary": "Check every minute", "value": {"checkIntervalSeconds": 60}},
    "disable": {"summary": "Pause the checks", "value": {"enabled": False}},
}

_ID = UUID("0198c0de-0000-7000-8000-000000000001")
_CHECK = UUID("0198c0de-0000-7000-8000-000000000002")
_SCAN = UUID("0198c0de-0000-7000-8000-000000000003")
_INCIDENT = UUID("0198c0de-0000-7000-8000-000000000004")
_ENTRY = UUID("0198c0de-0000-7000-8000-000000000005")
_REQUEST = "0198c0de-0000-7000-8000-000000000006"
_REGISTERED = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
_FAILED = datetime(2026, 1, 15, 12, 0, 7, tzinfo=UTC)
_CURSOR = "WyIwMTk4YzBkZSJd.aWj2Lw.c2lnbmF0dXJl"

_INTEGRATION = Integration(
    id=_ID,
    type="harbor",
    name="registry-eu",
    config={"endpoint": "https://harbor.example"},
    auth_ref_uri="authref://vault/ci/harbor#robot",
    connection=Connection(api_root="https://harbor.example/api/v2.0"),
    status=IntegrationStatus.UNHEALTHY,
    enabled=True,
    tags=["eu"],
    check_interval_seconds=300,
    check_timeout_seconds=10,
    failure_threshold=3,
    success_threshold=2,
    created_at=_REGISTERED,
    updated_at=_REGISTERED,
    version=3,
)
_FINISHED = FinishedCheck(
    check_id=_CHECK,
    integration_id=_ID,
    trigger=CheckTrigger.ON_DEMAND,
    status=HealthStatus.UNHEALTHY,
    error_code=ErrorCode.TLS,
    error_message="The certificate was refused: certificate has expired",
    latency_ms=41,
    checked_at=_FAILED,
    steps=[
        Step(name="resolve_secret", result=StepResult.PASSED, ms=3.2),
        Step(name="connect", result=StepResult.PASSED, ms=9.4),
        Step(name="tls", result=StepResult.FAILED, ms=28.1),
    ],
)
_PLUGIN = Plugin(
    plugin_id="harbor",
    type="harbor",
    name="Harbor",
    version="1.0.0",
    capabilities=["health"],
    path="/app/plugins/harbor",
    trust=PluginTrust.BUILT_IN,
    state=PluginState.READY,
    config_schema={
        "type": "object",
        "required": ["endpoint"],
        "properties": {"endpoint": {"type": "string", "pattern": "^https?://"}},
    },
    identity_fields=["endpoint"],
    default_interval_seconds=300,
    default_timeout_seconds=10,
    seen_at=_REGISTERED,
)
_AUDIT = AuditEntry(
    id=_ENTRY,
    actor="alice",
    action="integration.updated",
    integration_id=_ID,
    timestamp=_REGISTERED,
    request_id=_REQUEST,
    outcome="success",
    details={"name": "registry-eu", "type": "harbor", "changed": ["config.endpoint"]},
)

_TRANSITION = Transition(
    at=_FAILED,
    previous_status=IntegrationStatus.HEALTHY,
    status=IntegrationStatus.UNHEALTHY,
    error_code=ErrorCode.TLS,
    incident_id=_INCIDENT,
)

MUTE_BODIES: dict[str, Any] = {
    "now": {
        "summary": "What has a tag, from now on",
        "value": {"tag": "eu", "reason": "Moved tonight", "endsAt": "2026-11-25T06:00:00Z"},
    },
    "window": {
        "summary": "A maintenance window of one type",
        "value": {
            "type": "harbor",
            "reason": "Upgrade of the registries",
            "startsAt": "2026-12-01T20:00:00Z",
            "endsAt": "2026-12-01T22:00:00Z",
        },
    },
}

_MUTE = Mute(
    id=_SCAN,
    tag="eu",
    reason="Upgrade of the registry",
    starts_at=_REGISTERED,
    ends_at=_FAILED,
    created_by="alice",
    created_at=_REGISTERED,
)

_ANSWERS: tuple[BaseModel, ...] = (
    TransitionPage(items=[_TRANSITION], next_cursor=_CURSOR),
    _INTEGRATION,
    IntegrationPage(items=[_INTEGRATION], next_cursor=_CURSOR),
    _FINISHED,
    FinishedDraft.model_validate(_FINISHED.model_dump(exclude={"integration_id", "trigger"})),
    PendingCheck(
        check_id=_CHECK,
        integration_id=_ID,
        trigger=CheckTrigger.ON_DEMAND,
        requested_at=_FAILED,
    ),
    CheckAccepted(check_id=_CHECK, status_url=f"/api/v1/integrations/{_ID}/health-checks/{_CHECK}"),
    Health(
        integration_id=_ID,
        status=IntegrationStatus.UNHEALTHY,
        since=_FAILED,
        consecutive_failures=3,
        consecutive_successes=0,
        incident=Incident(
            id=_INCIDENT,
            opened_at=_FAILED,
            error_code=ErrorCode.TLS,
            error_message=_FINISHED.error_message,
        ),
        last_check=_FINISHED,
        last_healthy_at=_REGISTERED,
        next_check_at=_FAILED,
        history=History(items=[_FINISHED], next_cursor=_CURSOR),
    ),
    _MUTE,
    MutePage(items=[_MUTE], next_cursor=_CURSOR),
    _PLUGIN,
    PluginList(items=[_PLUGIN]),
    ScanAccepted(scan_id=_SCAN),
    ScanSummary(scan_id=_SCAN, found=2, registered=["harbor"], updated=[], removed=[], failed=[]),
    _AUDIT,
    AuditPage(items=[_AUDIT], next_cursor=_CURSOR),
    *webhooks.ANSWERS,
    ImportResult(
        dry_run=False,
        created=1,
        updated=0,
        unchanged=0,
        failed=1,
        lines=[
            ImportedLine(line=1, outcome=ImportOutcome.CREATED, id=_ID, name="registry-eu"),
            ImportedLine(
                line=2,
                outcome=ImportOutcome.FAILED,
                name="registry-us",
                error_code="config_rejected",
                problems=[
                    ImportProblem(pointer="/config/endpoint", detail="It must match ^https?://.")
                ],
            ),
        ],
    ),
    AuditVerification(intact=True, entries=1204, sequence=1204, hash="5f" * 32),
)

ANSWERS = {type(answer).__name__: answer for answer in _ANSWERS}
"""One example of each answer, by the name of its model."""

_EVENT = Event.of(
    _INCIDENT,
    EventType.ALERT_OPENED,
    Alert(
        integration_id=_ID,
        provider_type="harbor",
        incident_id=_INCIDENT,
        status=IntegrationStatus.UNHEALTHY,
        error_code=ErrorCode.TLS,
        error_message=_FINISHED.error_message,
        since=_FAILED,
    ),
    service="health-worker",
    tenant_id="acme",
).model_copy(update={"time": _FAILED})

EVENT_STREAM = f"""retry: 2000
: heartbeat
id: WzQyMSwwXQ.4mTt

id: WzQyMSwxN10.x9Qk
event: {_EVENT.type}
data: {_EVENT.to_json().decode()}

"""
"""What `GET /events` sends."""

_ERRORS: tuple[StellaError, ...] = (
    MalformedBody("NUL or half a surrogate pair.", "/config/note"),
    MalformedCursor(),
    MalformedPrecondition(),
    TokenRejected("it has expired"),
    ScopeMissing("integrations:write"),
    TenantMissing("tenant"),
    IntegrationNotFound(_ID),
    CheckNotFound(_CHECK),
    MuteNotFound(_SCAN),
    MuteRejected([Problem("/endsAt", "It may last 90 days at most.")]),
    PluginNotFound("mainframe"),
    NameTaken("registry-eu"),
    IdempotencyKeyInUse(),
    VersionMismatch(4),
    IfMatchMissing(),
    TooManyRequests(120_000, retry_after_seconds=1),
    UnknownProvider("mainframe", ["harbor", "in-memory"]),
    PluginNotReady("mainframe", "It is not one of the hub's own."),
    ConfigRejected([Problem("/config/endpoint", "It must match ^https?://.")]),
    IdempotencyKeyReused(),
    ImportRejected("An import may have 1000 lines at most. Send it in parts."),
    IntegrationDisabled(),
    DatabaseUnavailable(),
    KeysUnavailable(),
    SchemaMissing(),
    RolesMissing(),
    BusUnavailable("The message bus does not answer."),
    DraftUnanswered(30),
    TooManyStreams(20),
    *webhooks.ERRORS,
    StreamsBusy(),
    StreamsClosing(),
)

PROBLEMS: dict[str, dict[str, Any]] = {
    error.code: document_of(error, request_id=_REQUEST) for error in _ERRORS
} | {
    code: document(status, code, detail, request_id=_REQUEST, errors=errors)
    for status, code, detail, errors in (
        (400, "malformed_url", "The URL holds a NUL character.", ()),
        (408, "request_timeout", "The body did not arrive within 30 s.", ()),
        (413, "body_too_large", "A body may have 262144 bytes at most.", ()),
        (415, "unsupported_media_type", "Send Content-Type: application/json.", ()),
        (
            422,
            "invalid_request",
            "The request breaks its schema. See errors.",
            ({"pointer": "/checkIntervalSeconds", "detail": "Input should be at least 30"},),
        ),
        (
            500,
            "internal_error",
            "Something is wrong on our side. The request id finds it in our log.",
            (),
        ),
    )
}
"""One example of each problem, by its code."""
