"""What it means to register, change and remove an integration."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from stella_api.authentication import Actor
from stella_api.integrations.changes import changed_values, differs, shown
from stella_api.integrations.credentials import find_credentials
from stella_api.integrations.references import problems_of_reference
from stella_api.plugin_catalog import PluginCatalog, ProviderSchema
from stella_contracts.errors import ConfigRejected, VersionMismatch
from stella_contracts.health import IntegrationStatus
from stella_contracts.integrations import Integration, IntegrationCreate, IntegrationUpdate
from stella_contracts.messages import Event, EventData, EventType, HealthFlapping, IntegrationChange
from stella_runtime.alerting import Alerting
from stella_runtime.ids import new_id
from stella_runtime.persistence import Transaction
from stella_runtime.persistence.status_transitions import NewTransition
from stella_runtime.secrets import AuthRefPolicy

log = structlog.get_logger()

SERVICE = "api"
_FREE_TEXT = {"name", "description", "tags", "config"}
"""Where somebody could put a credential."""
_NEEDS_NEW_CHECK = {"config", "auth_ref_uri", "enabled"}
"""A change of these makes what was learnt before worthless."""
_CHANGES_SCHEDULE = {
    "check_interval_seconds",
    "check_timeout_seconds",
    "failure_threshold",
    "success_threshold",
}


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, in which request."""

    actor: Actor
    request_id: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides whether an integration can be stored."""

    plugins: PluginCatalog
    references: AuthRefPolicy


def check_fields(
    fields: Mapping[str, Any],
    schema: ProviderSchema | None,
    *,
    tenant_id: str,
    policy: AuthRefPolicy,
) -> None:
    """
    Raise ConfigRejected if a config breaks its schema, a field holds a credential, or the
    reference is to what the tenant may not use.
    """
    problems = find_credentials({name: fields[name] for name in fields.keys() & _FREE_TEXT})
    problems += problems_of_reference(policy, tenant_id, fields.get("auth_ref_uri"))
    if schema is not None:
        problems += schema.problems_of(fields["config"])
    if problems:
        raise ConfigRejected(problems)


async def register(
    transaction: Transaction, call: Call, new: IntegrationCreate, rules: Rules
) -> Integration:
    """Store an integration and make it due at once."""
    schema = await rules.plugins.schema_of(new.type, transaction.plugins)
    check_fields(dict(new), schema, tenant_id=transaction.tenant_id, policy=rules.references)
    integration = await transaction.integrations.add(
        new,
        interval_seconds=new.check_interval_seconds or schema.default_interval_seconds,
        timeout_seconds=new.check_timeout_seconds or schema.default_timeout_seconds,
    )
    await transaction.schedule.add(integration.id, enabled=new.enabled)
    _tell(transaction, call, EventType.INTEGRATION_CREATED, integration)
    return integration


async def change(
    transaction: Transaction,
    call: Call,
    integration_id: UUID,
    update: IntegrationUpdate,
    versions: frozenset[int] | None,
    rules: Rules,
) -> Integration:
    """Apply what was sent, as the next version. Nothing sent that differs: nothing changes."""
    await transaction.schedule.lock(integration_id)
    row = await transaction.integrations.lock(integration_id)
    before = await transaction.integrations.get(integration_id)
    _check_version(before, versions)
    sent = update.changes
    # Without a new config no plugin is asked for: one that is gone must not keep anyone from
    # pausing its integrations.
    has_config = "config" in sent
    plugins = rules.plugins
    schema = await plugins.schema_of(before.type, transaction.plugins) if has_config else None
    check_fields(sent, schema, tenant_id=transaction.tenant_id, policy=rules.references)
    changes = {name: new for name, new in sent.items() if differs(before, name, new)}
    if not changes:
        return before
    was_enabled = before.enabled
    incident_id = None
    if changes.get("enabled") is False:
        incident_id = await _end_outage(transaction, before)
    if "enabled" in changes:
        changes["status"] = (
            IntegrationStatus.UNKNOWN if changes["enabled"] else IntegrationStatus.DISABLED
        )
    await transaction.integrations.change(row, changes)
    await _reschedule(transaction, integration_id, changes, was_enabled=was_enabled)
    if "status" in changes:
        transition = NewTransition(
            tenant_id=transaction.tenant_id,
            integration_id=integration_id,
            at=datetime.now(UTC),
            previous_status=before.status,
            status=changes["status"],
            incident_id=incident_id,
        )
        await transaction.transitions.add([transition])
    after = await transaction.integrations.get(integration_id)
    _tell(
        transaction,
        call,
        EventType.INTEGRATION_UPDATED,
        after,
        changed_values(before, {n: v for n, v in changes.items() if n != "status"}),
    )
    return after


async def remove(
    transaction: Transaction, call: Call, integration_id: UUID, versions: frozenset[int] | None
) -> None:
    """Hide it from every reader, check it no more, end its incident."""
    await transaction.schedule.lock(integration_id)
    row = await transaction.integrations.lock(integration_id)
    before = await transaction.integrations.get(integration_id)
    _check_version(before, versions)
    await transaction.integrations.delete(row)
    await _end_outage(transaction, before)
    await transaction.schedule.pause(integration_id)
    _tell(transaction, call, EventType.INTEGRATION_DELETED, before)


def _check_version(current: Integration, versions: frozenset[int] | None) -> None:
    if versions is not None and current.version not in versions:
        raise VersionMismatch(current.version)


async def _reschedule(
    transaction: Transaction, integration_id: UUID, changes: Mapping[str, Any], *, was_enabled: bool
) -> None:
    is_enabled = changes.get("enabled", was_enabled)
    if "enabled" in changes:
        await transaction.schedule.mark_changed(integration_id)
    if not is_enabled:
        await transaction.schedule.pause(integration_id)
    elif changes.keys() & _NEEDS_NEW_CHECK:
        await transaction.schedule.restart(integration_id)
    elif changes.keys() & _CHANGES_SCHEDULE:
        await transaction.schedule.make_due(integration_id)
    else:
        await transaction.schedule.take_back(integration_id)


async def _end_outage(transaction: Transaction, integration: Integration) -> UUID | None:
    """Nobody is told of the end of what is not looked at any more, but by this."""
    state = await transaction.schedule.get(integration.id)
    if state.flapping_since is not None:
        stable = HealthFlapping(
            integration_id=integration.id,
            provider_type=integration.type,
            status=IntegrationStatus.DISABLED,
            change_percent=0,
            since=state.flapping_since,
        )
        _report(transaction, EventType.HEALTH_STABLE, stable)
    alerting = Alerting(transaction.incidents, transaction.outbox, service=SERVICE)
    incident_id = await alerting.resolve(
        integration.id, provider_type=integration.type, status=IntegrationStatus.DISABLED
    )
    await alerting.settle()
    return incident_id


def _tell(
    transaction: Transaction,
    call: Call,
    event_type: EventType,
    integration: Integration,
    changed: Mapping[str, tuple[Any, Any]] | None = None,
) -> None:
    """The audit entry, the event and the log line of one change. Values are in the first alone."""
    details: dict[str, Any] = {"name": integration.name, "type": integration.type}
    if changed:
        details["changed"] = list(changed)
        details["values"] = {
            name: {"from": shown(name, one), "to": shown(name, other)}
            for name, (one, other) in changed.items()
        }
    transaction.audit_logs.add(
        event_type,
        actor=call.actor.subject,
        request_id=call.request_id,
        integration_id=integration.id,
        details=details,
    )
    change_told = IntegrationChange(
        integration_id=integration.id,
        provider_type=integration.type,
        name=integration.name,
        version=integration.version,
        changed=list(changed or ()),
    )
    _report(transaction, event_type, change_told)
    log.info(
        event_type.replace(".", "_"),
        action=event_type,
        integration_id=str(integration.id),
        provider_type=integration.type,
    )


def _report(transaction: Transaction, event_type: EventType, data: EventData) -> None:
    transaction.outbox.report(
        Event.of(new_id(), event_type, data, service=SERVICE, tenant_id=transaction.tenant_id)
    )
