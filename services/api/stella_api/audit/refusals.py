"""What was asked for and not done is in the audit log as well, with the reason."""

from typing import Literal

import structlog
from starlette.types import Scope

from stella_api.authentication import Actor
from stella_api.identifiers import as_uuid
from stella_contracts.errors import Unavailable
from stella_runtime.persistence import Database

log = structlog.get_logger()

ACTOR = "actor"
"""The key of the request's state that holds who is calling, once that is known."""

_ITEM = "/integrations/{integration_id}"
_WEBHOOK = "/webhooks/{webhook_id}"

ACTIONS = {
    ("POST", "/integrations"): "integration.created",
    ("POST", "/integrations/import"): "integrations.imported",
    ("GET", "/integrations/export"): "integrations.exported",
    ("POST", "/integrations/test"): "integration.draft_tested",
    ("PUT", _ITEM): "integration.updated",
    ("DELETE", _ITEM): "integration.deleted",
    ("POST", f"{_ITEM}/health-check"): "integration.check_requested",
    ("POST", "/plugins/discover"): "plugins.discovery_requested",
    ("POST", "/integrations/plugins/discover"): "plugins.discovery_requested",
    ("GET", "/audit-logs"): "audit.read",
    ("GET", "/audit-logs/verify"): "audit.verified",
    ("GET", "/audit-logs/export"): "audit.exported",
    ("POST", "/mutes"): "mute.created",
    ("DELETE", "/mutes/{mute_id}"): "mute.deleted",
    ("POST", "/webhooks"): "webhook.created",
    ("PUT", _WEBHOOK): "webhook.updated",
    ("DELETE", _WEBHOOK): "webhook.deleted",
    ("POST", f"{_WEBHOOK}/test"): "webhook.tested",
    ("POST", f"{_WEBHOOK}/replay"): "webhook.replayed",
    ("POST", f"{_WEBHOOK}/deliveries/{{delivery_id}}/replay"): "webhook.replayed",
}
"""The action of each route that is audited, whether it succeeds or not."""


class Refusals:
    """Tells of requests that were refused, or failed, in a transaction of their own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tell(self, scope: Scope, code: str, outcome: Literal["refused", "failed"]) -> None:
        """
        Add an entry if the caller is known and the route is audited.

        The answer stays what it is if the log cannot be written: nothing was done, and the
        log line of the process says so, too.
        """
        actor: Actor | None = scope["state"].get(ACTOR)
        route = getattr(scope.get("route"), "path", "")
        action = ACTIONS.get((scope["method"], route))
        if actor is None or action is None:
            return
        named = dict(scope.get("path_params", {}))
        integration_id = as_uuid(str(named.pop("integration_id", "")))
        details = {_in_json(name): str(value)[:64] for name, value in named.items()}
        try:
            async with self._database.transaction(actor.tenant_id) as transaction:
                transaction.audit_logs.add(
                    action,
                    actor=actor.subject,
                    request_id=scope["state"]["request_id"],
                    integration_id=integration_id,
                    outcome=outcome,
                    details={"errorCode": code, **details},
                )
        except Unavailable as error:
            log.warning("refusal_not_audited", action=action, reason=str(error))


def _in_json(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.title() for each in others)
