"""What it means to register, change, remove, try and replay a webhook."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from stella_api.authentication import Actor
from stella_api.integrations.credentials import find_credentials
from stella_api.integrations.references import problems_of_reference
from stella_contracts.errors import ConfigRejected, WebhookDisabled
from stella_contracts.messages import Event, EventType, WebhookChange
from stella_contracts.webhooks import (
    Delivery,
    ReplayAnswer,
    Webhook,
    WebhookCreate,
    WebhookUpdate,
)
from stella_runtime.ids import new_id
from stella_runtime.persistence import Transaction
from stella_runtime.secrets import AuthRefPolicy

log = structlog.get_logger()

REPLAYED_AT_ONCE = 1_000

_FREE_TEXT = {"description"}


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """One request about webhooks: its transaction, and who asks."""

    transaction: Transaction
    actor: Actor
    request_id: str
    policy: AuthRefPolicy

    async def register(self, new: WebhookCreate) -> Webhook:
        self._check_fields({"description": new.description, "auth_ref_uri": new.auth_ref_uri})
        webhook = await self.transaction.webhooks.add(new)
        self._tell("created", webhook.id, events=webhook.event_types)
        return webhook

    async def change(
        self, webhook_id: UUID, update: WebhookUpdate, versions: frozenset[int] | None
    ) -> Webhook:
        """Apply what was sent, as the next version. Nothing sent that differs: nothing changes."""
        webhooks = self.transaction.webhooks
        row = await webhooks.lock(webhook_id, versions)
        before = await webhooks.get(webhook_id)
        sent = update.changes
        self._check_fields(sent)
        changes = {
            name: value
            for name, value in sent.items()
            if getattr(before, name) != (str(value) if name == "auth_ref_uri" else value)
        }
        healed = sent.get("enabled") is True and before.disabled_reason is not None
        if changes:
            await webhooks.change(row, changes)
        if healed or changes.get("enabled") or "url" in changes:
            await webhooks.enable(webhook_id)
        if changes or healed:
            names = [Webhook.model_fields[each].alias or each for each in changes]
            self._tell("updated", webhook_id, changed=sorted(names), enabledAgain=healed)
        return await webhooks.get(webhook_id)

    async def remove(self, webhook_id: UUID, versions: frozenset[int] | None) -> None:
        row = await self.transaction.webhooks.lock(webhook_id, versions)
        await self.transaction.webhooks.delete(row)
        self._tell("deleted", webhook_id)

    async def test(self, webhook_id: UUID) -> Delivery:
        """Queue an event that says nothing. An endpoint that we disabled is tried with it now."""
        await self._require_wanted(webhook_id)
        event = Event.of(
            new_id(),
            EventType.WEBHOOK_TEST,
            WebhookChange(webhook_id=webhook_id, reason="test"),
            service="api",
            tenant_id=self.transaction.tenant_id,
        )
        delivery = await self.transaction.webhook_deliveries.add(webhook_id, event)
        await self.transaction.webhooks.make_due(webhook_id)
        self._tell("tested", webhook_id, deliveryId=str(delivery.id))
        return delivery

    async def replay(self, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Queue one delivery again, whatever became of it."""
        await self._require_wanted(webhook_id)
        delivery = await self.transaction.webhook_deliveries.replay(webhook_id, delivery_id)
        await self.transaction.webhooks.make_due(webhook_id)
        self._tell("replayed", webhook_id, deliveryId=str(delivery_id))
        return delivery

    async def replay_since(
        self, webhook_id: UUID, since: datetime, *, only_failed: bool
    ) -> ReplayAnswer:
        """Queue again what was queued since a moment, so many at a time."""
        await self._require_wanted(webhook_id)
        replayed = await self.transaction.webhook_deliveries.replay_since(
            webhook_id, since, only_failed=only_failed, limit=REPLAYED_AT_ONCE
        )
        await self.transaction.webhooks.make_due(webhook_id)
        self._tell("replayed", webhook_id, since=since.isoformat(), deliveries=replayed)
        return ReplayAnswer(replayed=replayed, more=replayed == REPLAYED_AT_ONCE)

    def _check_fields(self, fields: Mapping[str, Any]) -> None:
        """Raises ConfigRejected."""
        problems = find_credentials({name: fields[name] for name in fields.keys() & _FREE_TEXT})
        tenant_id = self.transaction.tenant_id
        problems += problems_of_reference(self.policy, tenant_id, fields.get("auth_ref_uri"))
        if problems:
            raise ConfigRejected(problems)

    async def _require_wanted(self, webhook_id: UUID) -> None:
        """Raises WebhookNotFound, or WebhookDisabled for one that its owner or a 410 stopped."""
        await self.transaction.webhooks.lock(webhook_id, None)
        webhook = await self.transaction.webhooks.get(webhook_id)
        if not webhook.enabled or webhook.disabled_reason == "gone":
            raise WebhookDisabled

    def _tell(self, what: str, webhook_id: UUID, **details: Any) -> None:
        """The audit entry and the log line. The URL is in neither: it can be a secret."""
        self.transaction.audit_logs.add(
            f"webhook.{what}",
            actor=self.actor.subject,
            request_id=self.request_id,
            details={"webhookId": str(webhook_id), **details},
        )
        log.info(f"webhook_{what}", action=f"webhook.{what}", webhook_id=str(webhook_id))
