"""Tells of the hub's own conditions: once when the first worker has one, once after the last."""

from datetime import UTC, datetime

from stella_contracts.messages import Event, EventType, HubCondition
from stella_health_worker.announcing import SERVICE
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database, SystemTransaction

_EVENTS = {
    "egress": (EventType.HUB_EGRESS_LOST, EventType.HUB_EGRESS_RESTORED),
    "vault": (EventType.HUB_VAULT_LOST, EventType.HUB_VAULT_RESTORED),
}
_NOBODY = ""


async def see(database: Database, condition: str, worker: str, reason: str) -> None:
    """A worker has this condition, still or newly."""
    async with database.system_transaction() as transaction:
        if await transaction.hub_conditions.see(condition, worker, reason):
            _tell(transaction, condition, worker, reason=reason, lost=True, since=None)


async def forget(database: Database, condition: str, worker: str) -> None:
    """A worker has it no more."""
    async with database.system_transaction() as transaction:
        since = await transaction.hub_conditions.forget(condition, worker)
        if since is not None:
            _tell(transaction, condition, worker, reason=None, lost=False, since=since)


async def forget_the_gone(database: Database) -> None:
    """Workers that ended with a condition have it no more."""
    async with database.system_transaction() as transaction:
        stale = await transaction.hub_conditions.list_stale()
    for condition in stale:
        await forget(database, condition, _NOBODY)


def _tell(
    transaction: SystemTransaction,
    condition: str,
    worker: str,
    *,
    reason: str | None,
    lost: bool,
    since: datetime | None,
) -> None:
    kind, _, vault = condition.partition(":")
    told = HubCondition(
        condition=condition,
        vault=vault or None,
        worker=worker or None,
        reason=reason,
        since=since or datetime.now(UTC),
    )
    event_type = _EVENTS[kind][0 if lost else 1]
    transaction.outbox.report(Event.of(new_id(), event_type, told, service=SERVICE))
