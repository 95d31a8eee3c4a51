"""What is told of an outcome: changes of the status, flapping, incidents and their alerts."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from stella_contracts.health import HealthStatus, IntegrationStatus
from stella_contracts.messages import (
    CredentialExpiring,
    Event,
    EventData,
    EventType,
    HealthChange,
    HealthFlapping,
)
from stella_health_worker.expiry import is_to_be_told
from stella_health_worker.flapping import Flap, Thresholds, change_percent
from stella_health_worker.grouping import GROUP_WINDOW, plan, root_of
from stella_health_worker.verdict import IncidentStep, Verdict
from stella_runtime.alerting import Alerting
from stella_runtime.ids import new_id
from stella_runtime.persistence import SystemTransaction
from stella_runtime.persistence.alerts import RootOf
from stella_runtime.persistence.scheduling import CredentialEnd, Outcome, State
from stella_runtime.persistence.status_transitions import NewTransition

SERVICE = "health-worker"

ANNOUNCE_LIMIT = 500


async def announce_alerts(
    transaction: SystemTransaction, integration_ids: Sequence[UUID] | None = None
) -> int:
    """
    Announce the outages of these integrations, or of any, that may be told of and have not been.

    Says how many it looked at: with the limit's worth, there may be more.
    """
    ready = await transaction.alerts.list_ready(integration_ids, limit=ANNOUNCE_LIMIT)
    if not ready:
        return 0
    alerts = transaction.alerts
    roots = {
        RootOf(each.incident.tenant_id, each.incident.root)
        for each in ready
        if each.incident.root is not None
    }
    planned = plan(ready, await alerts.list_related(list(roots), age=GROUP_WINDOW))
    alerting = Alerting(transaction.incidents, transaction.outbox, service=SERVICE)
    for each in planned.announce:
        alerting.tell(EventType.ALERT_OPENED, each.incident, each.status, each.provider_type)
    await alerts.mark_announced([each.incident.id for each in planned.announce])
    for parent_id, incident_ids in planned.adopt.items():
        await alerts.adopt(parent_id, incident_ids)
    for root, children in planned.found.items():
        parent = await alerts.open_parent(root, children)
        alerting.tell(EventType.ALERT_OPENED, parent, IntegrationStatus.UNHEALTHY, None)
    return len(ready)


class Announcer:
    """Of one batch of outcomes. Nothing that stays as it was costs a query."""

    def __init__(self, transaction: SystemTransaction) -> None:
        self._transaction = transaction
        self._alerting = Alerting(transaction.incidents, transaction.outbox, service=SERVICE)
        self._opened: list[UUID] = []
        self._transitions: list[NewTransition] = []

    async def follow(
        self,
        outcome: Outcome,
        state: State,
        verdict: Verdict,
        flap: Flap,
        since: datetime,
        end: CredentialEnd | None,
    ) -> None:
        """Tell what an outcome changed, and open, update or resolve the incident."""
        calmed_at = None if flap.since is not None else state.flapping_since
        if flap.since is not None and state.flapping_since is None:
            self._tell_flap(EventType.HEALTH_FLAPPING, outcome, state, verdict, flap)
        elif calmed_at is not None:
            self._tell_flap(EventType.HEALTH_STABLE, outcome, state, verdict, flap)
        if verdict.status is not state.status:
            await self._transaction.scheduling.set_status(state.integration_id, verdict.status)
        told = state.told_status or state.status
        if flap.since is None and verdict.status is not told:
            self._tell_change(outcome, state, told, verdict.status, since)
        self._tell_end(outcome, state, end)
        incident_id = await self._follow_incident(
            outcome, state, verdict, flaps=flap.since is not None, calmed=calmed_at is not None
        )
        if verdict.status is not state.status:
            self._transitions.append(
                NewTransition(
                    tenant_id=state.tenant_id,
                    integration_id=state.integration_id,
                    at=since,
                    previous_status=state.status,
                    status=verdict.status,
                    error_code=outcome.result.error_code,
                    incident_id=incident_id,
                )
            )

    async def finish(self) -> None:
        """Announce what was opened. After the states are stored, on which that depends."""
        await self._transaction.transitions.add(self._transitions)
        await self._announce_opened()
        await self._alerting.settle()

    async def _follow_incident(
        self, outcome: Outcome, state: State, verdict: Verdict, *, flaps: bool, calmed: bool
    ) -> UUID | None:
        """Say which incident was opened or resolved."""
        incidents, result = self._transaction.incidents, outcome.result
        is_out = verdict.status is IntegrationStatus.UNHEALTHY
        opened = None
        if verdict.incident is IncidentStep.OPEN:
            opened = await incidents.open_once(
                state.tenant_id,
                state.integration_id,
                since=verdict.failing_since or outcome.checked_at,
                error_code=result.error_code,
                error_message=result.error_message,
                root=root_of(outcome.target, result.error_code),
            )
        elif verdict.incident is IncidentStep.UPDATE:
            left = await incidents.update_cause(
                state.integration_id,
                error_code=result.error_code,
                error_message=result.error_message,
                root=root_of(outcome.target, result.error_code),
            )
            if left is not None:
                self._alerting.left(left)
                self._opened.append(state.integration_id)
        if verdict.incident is IncidentStep.OPEN or (calmed and is_out):
            self._opened.append(state.integration_id)
        # While it flaps, the incident stays open: it ends with the calm.
        elif (verdict.incident is IncidentStep.RESOLVE and not flaps) or (calmed and not is_out):
            if state.integration_id in self._opened:
                await self._announce_opened()
            return await self._alerting.resolve(
                state.integration_id,
                provider_type=outcome.target.provider_type,
                status=verdict.status,
            )
        return None if opened is None else opened.id

    async def _announce_opened(self) -> None:
        if self._opened:
            await announce_alerts(self._transaction, self._opened)
            self._opened = []

    def _tell_change(
        self,
        outcome: Outcome,
        state: State,
        former: IntegrationStatus,
        status: IntegrationStatus,
        since: datetime,
    ) -> None:
        change = HealthChange(
            integration_id=state.integration_id,
            provider_type=outcome.target.provider_type,
            previous_status=former,
            status=status,
            error_code=outcome.result.error_code,
            error_message=outcome.result.error_message,
            since=since,
        )
        self._report(EventType.HEALTH_CHANGED, change, state.tenant_id)

    def _tell_flap(
        self, event_type: EventType, outcome: Outcome, state: State, verdict: Verdict, flap: Flap
    ) -> None:
        told = HealthFlapping(
            integration_id=state.integration_id,
            provider_type=outcome.target.provider_type,
            status=verdict.status,
            change_percent=change_percent(flap.changes, thresholds_of(state)),
            since=flap.since or state.flapping_since or outcome.checked_at,
        )
        self._report(event_type, told, state.tenant_id)

    def _tell_end(self, outcome: Outcome, state: State, end: CredentialEnd | None) -> None:
        if end is None or end.within_days is None or not is_to_be_told(state.credential_end, end):
            return
        told = CredentialExpiring(
            integration_id=state.integration_id,
            provider_type=outcome.target.provider_type,
            expires_at=end.expires_at,
            within_days=end.within_days,
        )
        self._report(EventType.CREDENTIAL_EXPIRING, told, state.tenant_id)

    def _report(self, event_type: EventType, data: EventData, tenant_id: str) -> None:
        self._transaction.outbox.report(
            Event.of(new_id(), event_type, data, service=SERVICE, tenant_id=tenant_id)
        )


def thresholds_of(state: State) -> Thresholds:
    return Thresholds(failures=state.failure_threshold, successes=state.success_threshold)


def result_changed(state: State, found: HealthStatus) -> bool:
    """Whether a check found another thing than the one before. The first is expected to be well."""
    former = state.last_status or HealthStatus.HEALTHY
    return HealthStatus.UNKNOWN not in {former, found} and former is not found
