"""
Every event and command, with its routing key.

Commands ask, events report. Events are CloudEvents 1.0 in structured JSON, with `tenantid`
and `traceparent` as extension attributes; delivery is at least once, and `id` is what a
subscriber recognises a repetition by.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import JsonValue

from stella_contracts.health import CheckTrigger, ErrorCode, IncidentScope, IntegrationStatus
from stella_contracts.model import Answer, UtcDatetime

NO_TENANT = "_system"
"""In place of a tenant, for events of the installation. No tenant can have this name."""


class EventType(StrEnum):
    INTEGRATION_CREATED = "integration.created"
    INTEGRATION_UPDATED = "integration.updated"
    INTEGRATION_DELETED = "integration.deleted"
    HEALTH_CHANGED = "integration.health.changed"
    HEALTH_FLAPPING = "integration.health.flapping"
    HEALTH_STABLE = "integration.health.stable"
    CREDENTIAL_EXPIRING = "integration.credential.expiring"
    ALERT_OPENED = "integration.alert.opened"
    ALERT_REMINDER = "integration.alert.reminder"
    ALERT_RESOLVED = "integration.alert.resolved"
    HUB_EGRESS_LOST = "hub.egress.lost"
    HUB_EGRESS_RESTORED = "hub.egress.restored"
    HUB_VAULT_LOST = "hub.vault.lost"
    HUB_VAULT_RESTORED = "hub.vault.restored"
    PLUGIN_REGISTERED = "plugin.registered"
    PLUGIN_UPDATED = "plugin.updated"
    PLUGIN_QUARANTINED = "plugin.quarantined"
    PLUGIN_REMOVED = "plugin.removed"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_ENABLED = "webhook.enabled"
    WEBHOOK_TEST = "webhook.test"
    """Sent to one endpoint that asked for it, and never on the bus."""


class IntegrationChange(Answer):
    """Data of `integration.created`, `.updated` and `.deleted`."""

    integration_id: UUID
    provider_type: str
    name: str
    version: int
    changed: list[str] = []
    """Names of the fields that changed, such as `config.endpoint`."""


class HealthChange(Answer):
    """Data of `integration.health.changed`."""

    integration_id: UUID
    provider_type: str
    previous_status: IntegrationStatus
    status: IntegrationStatus
    error_code: ErrorCode | None = None
    error_message: str | None = None
    since: UtcDatetime


class HealthFlapping(Answer):
    """
    Data of `integration.health.flapping` and `.stable`.

    Between the two neither changes of the status nor alerts are announced. What has become of
    it follows the second.
    """

    integration_id: UUID
    provider_type: str
    status: IntegrationStatus
    change_percent: float
    """Of the last results, how many were changes; the younger ones weigh more."""
    since: UtcDatetime
    """When the flapping began."""


class CredentialExpiring(Answer):
    """Data of `integration.credential.expiring`: 30, 14 and 3 days ahead, once each."""

    integration_id: UUID
    provider_type: str
    expires_at: UtcDatetime
    within_days: int


class Alert(Answer):
    """
    Data of `integration.alert.opened`, `.reminder` and `.resolved`: one incident, by its id.

    It is that of one integration, or, with a `scope`, that of a host or vault on which several
    integrations of the tenant fail.
    """

    integration_id: UUID | None = None
    """None where there is a `scope`; the event's subject is the incident's id then."""
    provider_type: str | None = None
    incident_id: UUID
    status: IntegrationStatus
    error_code: ErrorCode | None = None
    error_message: str | None = None
    since: UtcDatetime
    """When the outage began: the first of the failures that opened the incident."""
    resolved_at: UtcDatetime | None = None
    scope: IncidentScope | None = None
    cause: str | None = None
    """The host's origin, or the vault's name."""
    affected: int = 1
    """How many integrations have been a part of it."""
    parent_id: UUID | None = None
    """The incident of a host or vault that this one has become a part of."""


class PluginChange(Answer):
    """Data of the plugin events."""

    plugin_id: str
    provider_type: str | None
    version: str | None
    state: str
    reason: str | None = None


class HubCondition(Answer):
    """
    Data of the events about the hub itself, `hub.egress.*` and `hub.vault.*`.

    What fails meanwhile is recorded as unknown, and is nobody's outage.
    """

    condition: str
    """`egress`, or `vault:` and its name."""
    vault: str | None = None
    worker: str | None = None
    """The first that saw it, or the last."""
    reason: str | None = None
    since: UtcDatetime


class WebhookChange(Answer):
    """Data of the webhook events. Without the URL, which can be a secret."""

    webhook_id: UUID
    reason: str
    """`failing`, `gone` (it answered 410), `recovered`, `test`."""
    consecutive_failures: int = 0
    failing_since: UtcDatetime | None = None


EventData = (
    IntegrationChange
    | HealthChange
    | HealthFlapping
    | CredentialExpiring
    | Alert
    | HubCondition
    | PluginChange
    | WebhookChange
)

DATA_OF_TYPE: dict[EventType, type[Answer]] = {
    EventType.INTEGRATION_CREATED: IntegrationChange,
    EventType.INTEGRATION_UPDATED: IntegrationChange,
    EventType.INTEGRATION_DELETED: IntegrationChange,
    EventType.HEALTH_CHANGED: HealthChange,
    EventType.HEALTH_FLAPPING: HealthFlapping,
    EventType.HEALTH_STABLE: HealthFlapping,
    EventType.CREDENTIAL_EXPIRING: CredentialExpiring,
    EventType.ALERT_OPENED: Alert,
    EventType.ALERT_REMINDER: Alert,
    EventType.ALERT_RESOLVED: Alert,
    EventType.HUB_EGRESS_LOST: HubCondition,
    EventType.HUB_EGRESS_RESTORED: HubCondition,
    EventType.HUB_VAULT_LOST: HubCondition,
    EventType.HUB_VAULT_RESTORED: HubCondition,
    EventType.PLUGIN_REGISTERED: PluginChange,
    EventType.PLUGIN_UPDATED: PluginChange,
    EventType.PLUGIN_QUARANTINED: PluginChange,
    EventType.PLUGIN_REMOVED: PluginChange,
    EventType.WEBHOOK_DISABLED: WebhookChange,
    EventType.WEBHOOK_ENABLED: WebhookChange,
    EventType.WEBHOOK_TEST: WebhookChange,
}


class Event(Answer):
    """A CloudEvent. `data` is what `DATA_OF_TYPE` says of its type."""

    specversion: Literal["1.0"] = "1.0"
    id: UUID
    source: str
    type: EventType
    subject: str
    time: UtcDatetime
    tenantid: str
    traceparent: str | None = None
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any]

    @classmethod
    def of(
        cls,
        event_id: UUID,
        event_type: EventType,
        data: EventData,
        *,
        service: str,
        tenant_id: str = NO_TENANT,
        traceparent: str | None = None,
    ) -> "Event":
        """Report `data` as `service` (`api`, `health-worker`, `discovery`), now."""
        return cls(
            id=event_id,
            source=f"/stella/integrations/{service}",
            type=event_type,
            subject=_subject_of(data),
            time=datetime.now(UTC),
            tenantid=tenant_id,
            traceparent=traceparent,
            data=data.model_dump(mode="json"),
        )

    @property
    def routing_key(self) -> str:
        """`<event>.<provider type>.<tenant>`, such as `integration.created.harbor.acme`."""
        return f"{self.type}.{self.data.get('providerType') or '_none'}.{self.tenantid}"

    def to_json(self) -> bytes:
        """The bytes that cross the bus. CloudEvents leaves out attributes that have no value."""
        return self.model_dump_json(exclude_none=True).encode()


def _subject_of(data: EventData) -> str:
    if isinstance(data, PluginChange):
        return data.plugin_id
    if isinstance(data, HubCondition):
        return data.condition
    if isinstance(data, WebhookChange):
        return str(data.webhook_id)
    if isinstance(data, Alert) and data.integration_id is None:
        return str(data.incident_id)
    return str(data.integration_id)


class Command(Answer):
    """What a service of ours is asked to do."""

    queue: ClassVar[str]
    """Where it waits. A subclass is described in the AsyncAPI document by being one."""


class Reply(Answer):
    """What whoever waits is told, once."""


class ScheduledCheck(Answer):
    """One due check: a lease on its row, with the token that fences a late result off."""

    integration_id: UUID
    check_id: UUID
    lease_token: int


class RunScheduledChecks(Command):
    """Checks that are due. A message that is lost is made again when its leases end."""

    queue = "health.schedule"
    checks: list[ScheduledCheck]


class RunRequestedCheck(Command):
    """A check that somebody asked for."""

    queue = "health.ondemand"
    check_id: UUID
    integration_id: UUID
    tenant_id: str
    trigger: CheckTrigger
    request_id: str


class RunDraftCheck(Command):
    """A check of what is not registered: sent without the outbox, and answered by its reply."""

    queue = "health.ondemand"
    check_id: UUID
    tenant_id: str
    request_id: str
    provider_type: str
    config: dict[str, JsonValue]
    auth_ref_uri: str | None = None
    timeout_seconds: int
    expires_at: UtcDatetime
    """Nobody waits for it any more."""


class DiscoverPlugins(Command):
    """A scan of the plugin paths that somebody asked for."""

    queue = "plugins.discover"
    scan_id: UUID
    request_id: str


class Finished(Reply):
    """
    Reply to whoever waits for a check or a scan. A hint, sent once and never stored: who
    misses it finds the outcome in the database.
    """

    id: UUID
    """The check's or the scan's."""
    outcome: dict[str, Any] | None = None
