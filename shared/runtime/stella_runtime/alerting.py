"""Tells subscribers of incidents: an end only of what a beginning was told of."""

from uuid import UUID

from stella_contracts.health import IntegrationStatus
from stella_contracts.messages import Alert, Event, EventType
from stella_runtime.ids import new_id
from stella_runtime.persistence.incidents import Incidents, StoredIncident
from stella_runtime.persistence.outbox import Outbox


class Alerting:
    """Ends incidents in one transaction, and announces what has to be announced."""

    def __init__(self, incidents: Incidents, outbox: Outbox, *, service: str) -> None:
        self._incidents = incidents
        self._outbox = outbox
        self._service = service
        self._left: list[UUID] = []

    async def resolve(
        self, integration_id: UUID, *, provider_type: str, status: IntegrationStatus
    ) -> UUID | None:
        """The outage of an integration, if there is one, has ended. Says which it was."""
        resolved = await self._incidents.resolve_once(integration_id)
        if resolved is None:
            return None
        if resolved.announced:
            self.tell(EventType.ALERT_RESOLVED, resolved, status, provider_type)
        self.left(resolved.parent_id)
        return resolved.id

    def left(self, parent_id: UUID | None) -> None:
        """One incident fewer is below this one."""
        if parent_id is not None:
            self._left.append(parent_id)

    async def settle(self) -> None:
        """End the incidents that lost the last one below them. Once, when all has been said."""
        if not self._left:
            return
        for resolved in await self._incidents.resolve_left(self._left):
            if resolved.announced:
                self.tell(EventType.ALERT_RESOLVED, resolved, IntegrationStatus.HEALTHY, None)

    def tell(
        self,
        event_type: EventType,
        incident: StoredIncident,
        status: IntegrationStatus,
        provider_type: str | None,
    ) -> None:
        """Announce what an incident has come to."""
        is_shared = incident.integration_id is None
        alert = Alert(
            integration_id=incident.integration_id,
            provider_type=provider_type,
            incident_id=incident.id,
            status=status,
            error_code=incident.error_code,
            error_message=incident.error_message,
            since=incident.since,
            resolved_at=incident.resolved_at,
            scope=incident.root.scope if is_shared and incident.root else None,
            cause=incident.root.origin if is_shared and incident.root else None,
            affected=incident.affected,
            parent_id=incident.parent_id,
        )
        self._outbox.report(
            Event.of(
                new_id(), event_type, alert, service=self._service, tenant_id=incident.tenant_id
            )
        )
