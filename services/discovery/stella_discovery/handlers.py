"""
One function per command this service consumes.

Returning acknowledges the message, raising `Unavailable` has it delivered again, raising
anything else sends it to the dead letters. Delivery is at least once: a second scan of the
same folders writes nothing and announces nothing.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

from stella_contracts.errors import StellaError
from stella_contracts.messages import (
    NO_TENANT,
    DiscoverPlugins,
    Event,
    EventType,
    Finished,
    PluginChange,
)
from stella_contracts.plugins import PluginState, ScanSummary
from stella_discovery.reconcile import Reconciliation, reconcile
from stella_runtime.ids import new_id
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.topology import REPLIES
from stella_runtime.persistence import Database, SystemTransaction
from stella_runtime.plugin_host.scanner import Found
from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.metrics import Metrics
from stella_runtime.telemetry.spans import Span

log = structlog.get_logger()

SERVICE = "discovery"

_FINE = {PluginState.READY, PluginState.REMOVED}


class Publisher(Protocol):
    async def publish(self, message: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What the handlers need. `app.py` builds it; a test builds its own."""

    database: Database
    bus: Publisher
    scan: Callable[[], Awaitable[Sequence[Found]]]
    metrics: Metrics


async def discover_plugins(command: DiscoverPlugins, tools: Tools) -> None:
    """Scan, record what was found, and tell who waits for it."""
    with structlog.contextvars.bound_contextvars(
        scan_id=str(command.scan_id), request_id=command.request_id
    ):
        summary = await scan_plugins(command.scan_id, tools)
        await _tell(summary, tools)


async def scan_plugins(scan_id: UUID, tools: Tools) -> ScanSummary:
    """
    Scan and record: rows and events are committed together.

    Raises Unavailable when the folders or the database could not be read, and nothing changed.
    """
    try:
        with tracing.span("discover plugins", action="plugins.scan") as span:
            # Outside any transaction: folders may be slow.
            found = await tools.scan()
            async with tools.database.system_transaction() as transaction:
                await transaction.plugins.lock()
                outcome = reconcile(found, await transaction.plugins.list_records())
                await _store(outcome, transaction, scan_id)
            _describe(span, found, outcome)
    except StellaError:
        tools.metrics.scan("failed")
        raise
    _report(outcome, tools.metrics)
    return _summary(scan_id, found, outcome)


async def _store(outcome: Reconciliation, transaction: SystemTransaction, scan_id: UUID) -> None:
    # Two plugins may have exchanged their types: both give theirs up first.
    await transaction.plugins.withdraw([change.record.path for change in outcome.changes])
    for change in outcome.changes:
        await transaction.plugins.put(change.record)
    await transaction.plugins.mark_seen(outcome.seen)
    for change in outcome.changes:
        record, manifest = change.record, change.record.manifest
        data = PluginChange(
            plugin_id=record.plugin_id,
            provider_type=manifest.provider_type if manifest else None,
            version=manifest.version if manifest else None,
            state=record.state,
            reason=record.last_error,
        )
        if change.event is not None:
            transaction.outbox.report(Event.of(new_id(), change.event, data, service=SERVICE))
        # Of the installation, as operators' doings are: a plugin serves every tenant.
        transaction.audit_logs(NO_TENANT).add(
            change.event or "plugin.refused",
            actor=SERVICE,
            request_id=str(scan_id),
            outcome="success" if record.state in _FINE else "refused",
            details=data.model_dump(mode="json", exclude_none=True)
            | {"path": record.path, "digest": record.digest},
        )


def _describe(span: Span, found: Sequence[Found], outcome: Reconciliation) -> None:
    span.set(plugins=len(found), changed=len(outcome.changes))
    for change in outcome.changes:
        manifest = change.record.manifest
        span.event(
            f"plugin {change.record.state.value}",
            plugin_id=change.record.plugin_id,
            provider_type=manifest.provider_type if manifest else "",
        )


def _report(outcome: Reconciliation, metrics: Metrics) -> None:
    counts = Counter(record.state for record in outcome.records)
    metrics.scan("completed")
    metrics.plugins({state.value: counts[state] for state in PluginState})
    for change in outcome.changes:
        record = change.record
        manifest = record.manifest
        bound = log.bind(
            plugin_id=record.plugin_id,
            provider_type=manifest.provider_type if manifest else None,
            action="plugins.scan",
            path=record.path,
        )
        if record.state is PluginState.REMOVED:
            bound.info("plugin_removed")
        elif record.state is not PluginState.READY:
            bound.warning("plugin_refused", state=record.state.value, reason=record.last_error)
        elif change.event is EventType.PLUGIN_REGISTERED:
            bound.info("plugin_registered", digest=record.digest)
        else:
            bound.info("plugin_updated", digest=record.digest)
    log.info(
        "plugins_scanned",
        action="plugins.scan",
        changed=len(outcome.changes),
        **{state.value: counts[state] for state in PluginState},
    )


def _summary(scan_id: UUID, found: Sequence[Found], outcome: Reconciliation) -> ScanSummary:
    return ScanSummary(
        scan_id=scan_id,
        found=len(found),
        registered=outcome.told(EventType.PLUGIN_REGISTERED),
        updated=outcome.told(EventType.PLUGIN_UPDATED),
        removed=outcome.removed,
        failed=outcome.failed,
    )


async def _tell(summary: ScanSummary, tools: Tools) -> None:
    outcome = summary.model_dump(mode="json")
    message = Message(
        id=str(new_id()),
        exchange=REPLIES,
        routing_key=str(summary.scan_id),
        body=Finished(id=summary.scan_id, outcome=outcome).model_dump_json().encode(),
    )
    try:
        await tools.bus.publish(message)
    except StellaError as error:
        # A hint: who waits finds the rows in the database.
        log.warning("reply_not_sent", reason=str(error))
