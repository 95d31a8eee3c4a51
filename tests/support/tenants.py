"""A tenant with one of everything, and a stranger who tries to get at it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx
import psycopg
from psycopg import sql

from stella_contracts.health import HealthResult
from stella_health_worker.recording import record_outcomes
from tests.support.api import ANY_VERSION, Hub, registered
from tests.support.builders import a_registration
from tests.support.catalog import outcome
from tests.support.described import Operation

CANARY = "canary-of-acme"
"""Part of every text that the owner has written."""

SHARED = {"provider_type": "registry"}
"""What paths name that belongs to no tenant."""


@dataclass
class Owner:
    """The tenant `acme`, with two of whatever is listed, so that each listing has a cursor."""

    hub: Hub
    api: httpx.AsyncClient
    ids: dict[str, str] = field(default_factory=dict)
    """An id of the owner's for each parameter of a path."""
    every_id: set[str] = field(default_factory=set)
    cursors: dict[str, str | None] = field(default_factory=dict)
    """By operation; None where there is but one page of one item."""
    event_id: str = ""
    idempotency_key: str = "key-of-acme"
    registration: dict[str, Any] = field(default_factory=dict)

    async def settle(self) -> None:
        """Make all of it."""
        self.registration = a_registration(name=CANARY, tags=[CANARY], description=CANARY)
        headers = {"Idempotency-Key": self.idempotency_key}
        made = await self.api.post("/integrations", json=self.registration, headers=headers)
        integration = str(made.raise_for_status().json()["id"])
        await registered(self.api, name=f"{CANARY}-2", tags=[CANARY])
        path = f"/integrations/{integration}"
        for enabled in (False, True):
            await self.api.put(path, json={"enabled": enabled}, headers=ANY_VERSION)
        for _ in range(2):
            check = await self._checked(path)
        webhook, delivery = await self._webhook()
        mute = ""
        for _ in range(2):
            body = {"reason": CANARY, "tag": CANARY, "endsAt": "2027-01-01T00:00:00Z"}
            mute = (await self.api.post("/mutes", json=body)).raise_for_status().json()["id"]
        self.ids = {
            "integration_id": integration,
            "check_id": check,
            "webhook_id": webhook,
            "delivery_id": delivery,
            "mute_id": mute,
        }
        self.every_id |= set(self.ids.values())
        stream = await self.api.get(
            "/events", params={"follow": "false", "from": "2020-01-01T00:00:00Z"}
        )
        self.event_id = [
            line.removeprefix("id: ")
            for line in stream.text.splitlines()
            if line.startswith("id: ")
        ][-1]

    async def read_pages(self, described: Iterable[Operation]) -> None:
        """Keep the cursor behind the first item of each listing."""
        for operation in described:
            if "cursor" in operation.named("query"):
                page = await self.api.get(self.path_of(operation, {}), params={"limit": 1})
                self.cursors[str(operation)] = _cursor_in(page.raise_for_status().json())

    async def _checked(self, path: str) -> str:
        """Ask for a check, and do what a worker does."""
        asked = (await self.api.post(f"{path}/health-check")).raise_for_status()
        check_id: str = asked.json()["checkId"]
        async with self.hub.database.system_transaction() as transaction:
            target = await transaction.scheduling.find_requested(UUID(check_id))
            assert target is not None
            found = outcome(target, HealthResult.healthy())
            await record_outcomes(transaction, [found], self.hub.metrics)
        return check_id

    async def _webhook(self) -> tuple[str, str]:
        """The ids of a webhook, and of one of its two deliveries."""
        body = {"url": f"https://{CANARY}.test/", "authRefUri": "authref://vault/hooks/pager#key"}
        ids = [
            (await self.api.post("/webhooks", json=body)).raise_for_status().json()["id"]
            for _ in range(2)
        ]
        tests = [(await self.api.post(f"/webhooks/{ids[0]}/test")).json()["id"] for _ in range(2)]
        return ids[0], tests[0]

    def path_of(self, operation: Operation, ids: Mapping[str, str]) -> str:
        """The path with these ids in place of the owner's."""
        return operation.path.format(**{**SHARED, **self.ids, **ids})


def rows_of(database_url: str, tenant: str) -> dict[str, list[str]]:
    """Every row of a tenant, by table, as text."""
    with psycopg.connect(database_url) as connection:
        tables = connection.execute(
            "select c.table_name from information_schema.columns c join pg_class t"
            " on t.relname = c.table_name and not t.relispartition"
            " where c.column_name = 'tenant_id' and c.table_schema = 'public'"
            " and t.relkind in ('r', 'p') order by 1"
        ).fetchall()
        query = sql.SQL("select t::text from {} t where tenant_id = %s order by 1")
        return {
            name: [
                text for (text,) in connection.execute(query.format(sql.Identifier(name)), [tenant])
            ]
            for (name,) in tables
        }


def _cursor_in(document: Any) -> str | None:
    """The cursor of a page, wherever in the answer it is."""
    if not isinstance(document, dict):
        return None
    if "nextCursor" in document:
        return str(document["nextCursor"]) if document["nextCursor"] else None
    return next((each for each in map(_cursor_in, document.values()) if each), None)
