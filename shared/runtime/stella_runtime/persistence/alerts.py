"""Which incidents are to be told, across tenants: not muted, not flapping, not under another."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stella_contracts.health import IntegrationStatus
from stella_runtime.ids import new_id
from stella_runtime.persistence.incidents import Root, StoredIncident, stored_incident

_COLUMNS = """
    inc.id, inc.tenant_id, inc.integration_id, inc.since, inc.opened_at, inc.resolved_at,
    inc.error_code, inc.error_message, inc.scope, inc.origin, inc.parent_id, inc.affected,
    inc.announced_at
"""

IS_MUTED = """
    exists (select 1 from mutes m
        where m.tenant_id = i.tenant_id and m.starts_at <= now() and m.ends_at > now()
          and (m.integration_id is null or m.integration_id = i.id)
          and (m.type is null or m.type = i.type)
          and (m.tag is null or m.tag = any(i.tags)))
"""

# The state's row is what results and edits hold; one that another transaction holds is left to it.
_READY = text(
    f"""
    select {_COLUMNS}, i.type as provider_type, i.status
    from incidents inc
    join integrations i on i.id = inc.integration_id
    join schedule_state s on s.integration_id = inc.integration_id
    where inc.resolved_at is null and inc.announced_at is null and inc.parent_id is null
      and (cast(:ids as uuid[]) is null or inc.integration_id = any(cast(:ids as uuid[])))
      and s.flapping_since is null and not {IS_MUTED}
    order by inc.id limit :limit for update of s skip locked
    """
)
_LOCK_ROOTS = text(
    "select pg_advisory_xact_lock(hashtextextended(key, 0))"
    " from unnest(cast(:keys as text[])) as asked (key)"
)
_OF_ROOTS = f"""
    select {_COLUMNS} from incidents inc
    join unnest(cast(:tenants as text[]), cast(:scopes as text[]), cast(:origins as text[]))
        as asked (tenant_id, scope, origin)
        on (inc.tenant_id, inc.scope, inc.origin) = (asked.tenant_id, asked.scope, asked.origin)
    where inc.resolved_at is null
"""
_PARENTS = text(f"{_OF_ROOTS} and inc.integration_id is null order by inc.id for update of inc")
# One that another transaction holds is ending: to wait for it could be to wait for each other.
_RECENT = text(
    f"""
    {_OF_ROOTS} and inc.integration_id is not null and inc.parent_id is null
        and inc.announced_at > now() - cast(:age as interval)
    order by inc.id for update of inc skip locked
    """
)
_OPEN_PARENT = text(
    f"""
    insert into incidents as inc (id, tenant_id, since, error_code, error_message, scope, origin,
        affected, announced_at)
    values (:id, :tenant_id, :since, :error_code, :error_message, :scope, :origin, :affected, now())
    returning {_COLUMNS}
    """
)
_ADOPT = text(
    """
    with adopted as (
        update incidents set parent_id = :parent_id, updated_at = now()
        where id = any(cast(:ids as uuid[])) and resolved_at is null and parent_id is null
        returning id)
    update incidents set updated_at = now(),
        affected = affected + cast(:added as integer) * (select count(*) from adopted)
    where id = :parent_id
    """
)
_REMINDERS = text(
    f"""
    select {_COLUMNS}, i.type as provider_type, coalesce(i.status, 'unhealthy') as status
    from incidents inc
    left join integrations i on i.id = inc.integration_id
    left join schedule_state s on s.integration_id = inc.integration_id
    where inc.resolved_at is null and inc.parent_id is null
      and inc.announced_at < now() - cast(:every as interval)
      and (inc.reminded_at is null or inc.reminded_at < now() - cast(:every as interval))
      and (inc.integration_id is null or (s.flapping_since is null and not {IS_MUTED}))
    order by inc.announced_at limit :limit for update of inc skip locked
    """
)
_MARK_REMINDED = text(
    "update incidents set reminded_at = now() where id = any(cast(:ids as uuid[]))"
)
_PURGE_MUTES = text("delete from mutes where ends_at < now() - cast(:age as interval)")
_MARK = text("update incidents set announced_at = now() where id = any(cast(:ids as uuid[]))")


@dataclass(frozen=True, slots=True)
class ReadyAlert:
    """An outage that nobody has been told of, and what it is an outage of."""

    incident: StoredIncident
    provider_type: str | None
    status: IntegrationStatus


@dataclass(frozen=True, slots=True)
class RootOf:
    """A root, as it is for one tenant: two tenants never share an incident."""

    tenant_id: str
    root: Root


class Alerts:
    """The alerts that are due. Whose state another transaction holds is left to that."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list_ready(
        self, integration_ids: Sequence[UUID] | None, *, limit: int
    ) -> Sequence[ReadyAlert]:
        """
        Outages to be announced, the oldest first: of these integrations, or of any.

        Their states are held until the transaction ends.
        """
        ids = None if integration_ids is None else list(integration_ids)
        rows = await self._session.execute(_READY, {"ids": ids, "limit": limit})
        return [_ready(row) for row in rows]

    async def list_related(
        self, roots: Sequence[RootOf], *, age: timedelta
    ) -> Sequence[StoredIncident]:
        """
        The open incidents of these roots, and the outages with them announced since `age`.

        No other transaction groups by these roots until this one ends, and none of what is
        returned is resolved.
        """
        ordered = sorted(roots, key=_key)
        if not ordered:
            return []
        await self._session.execute(_LOCK_ROOTS, {"keys": [_key(each) for each in ordered]})
        asked = {
            "tenants": [each.tenant_id for each in ordered],
            "scopes": [each.root.scope for each in ordered],
            "origins": [each.root.origin for each in ordered],
        }
        parents = (await self._session.execute(_PARENTS, asked)).all()
        recent = (await self._session.execute(_RECENT, asked | {"age": age})).all()
        return [stored_incident(row) for row in [*parents, *recent]]

    async def open_parent(self, root: RootOf, children: Sequence[StoredIncident]) -> StoredIncident:
        """Open the incident that these are parts of. It counts as announced."""
        youngest = children[-1]
        row = await self._session.execute(
            _OPEN_PARENT,
            {
                "id": new_id(),
                "tenant_id": root.tenant_id,
                "since": min(each.since for each in children),
                "error_code": youngest.error_code,
                "error_message": youngest.error_message,
                "scope": root.root.scope,
                "origin": root.root.origin,
                "affected": len(children),
            },
        )
        parent = stored_incident(row.one())
        await self._adopt(parent.id, [each.id for each in children], added=False)
        return parent

    async def adopt(self, parent_id: UUID, incident_ids: Sequence[UUID]) -> None:
        """Make these parts of an open incident."""
        await self._adopt(parent_id, incident_ids, added=True)

    async def _adopt(self, parent_id: UUID, incident_ids: Sequence[UUID], *, added: bool) -> None:
        await self._session.execute(
            _ADOPT, {"parent_id": parent_id, "ids": list(incident_ids), "added": int(added)}
        )

    async def list_reminders(self, every: timedelta, *, limit: int) -> Sequence[ReadyAlert]:
        """Outages that were told of, and of which nothing was said for so long."""
        rows = await self._session.execute(_REMINDERS, {"every": every, "limit": limit})
        return [_ready(row) for row in rows]

    async def mark_reminded(self, incident_ids: Sequence[UUID]) -> None:
        if incident_ids:
            await self._session.execute(_MARK_REMINDED, {"ids": list(incident_ids)})

    async def purge_mutes(self, age: timedelta) -> None:
        """Delete what ended longer than `age` ago."""
        await self._session.execute(_PURGE_MUTES, {"age": age})

    async def mark_announced(self, incident_ids: Sequence[UUID]) -> None:
        if incident_ids:
            await self._session.execute(_MARK, {"ids": list(incident_ids)})


def _key(root: RootOf) -> str:
    return f"stella.incidents.{root.tenant_id}.{root.root.scope}.{root.root.origin}"


def _ready(row: Any) -> ReadyAlert:
    return ReadyAlert(stored_incident(row), row.provider_type, IntegrationStatus(row.status))
