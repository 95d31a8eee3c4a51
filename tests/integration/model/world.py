"""The real catalog, schedule, recording and outbox, moved one step at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg import sql
from tests.support.builders import a_config, a_plugin, a_registration
from tests.support.catalog import TENANT, outcome

from stella_api.authentication import Actor
from stella_api.integrations import service
from stella_api.integrations.service import Call, Rules
from stella_api.plugin_catalog import PluginCatalog
from stella_contracts.errors import BusUnavailable
from stella_contracts.health import CheckTrigger, HealthResult
from stella_contracts.integrations import IntegrationCreate, IntegrationUpdate
from stella_contracts.messages import RunRequestedCheck, RunScheduledChecks
from stella_health_worker.recording import record_outcomes
from stella_health_worker.scheduler import Scheduler
from stella_runtime.messaging.bus import Depth, Message
from stella_runtime.messaging.topology import EVENTS, ON_DEMAND, SCHEDULE
from stella_runtime.persistence import Database
from stella_runtime.persistence.scheduling import Outcome, Target
from stella_runtime.secrets import AuthRefPolicy
from stella_runtime.telemetry.metrics import Metrics

_KEPT = ("alembic_version", "audit", "plugin_metadata", "history_progress")
"""How the names of tables begin that a new world begins with. No audit log can be emptied."""

_TABLES = """
select c.relname from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
"""
# Where no time is part of a partition's key, all times can be moved.
_MOMENTS = """
select a.attrelid::regclass::text, array_agg(a.attname::text) from pg_attribute a
join pg_class c on c.oid = a.attrelid
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and not c.relispartition
  and a.atttypid = 'timestamptz'::regtype and a.attnum > 0 and not a.attisdropped
group by 1
"""
_SCHEDULE = """
select s.integration_id, i.version, i.status, i.deleted_at is null and i.enabled as is_checked,
    s.lease_token, s.slot_at is not null as has_lease, s.next_check_at is not null as has_turn,
    coalesce(s.next_check_at <= now(), false) as is_due,
    exists (select 1 from incidents o
            where o.integration_id = i.id and o.resolved_at is null) as has_incident
from schedule_state s join integrations i on i.id = s.integration_id
"""


@dataclass
class Wire:
    """The broker: keeps what it took, and takes no more than it is told to."""

    taken: list[Message] = field(default_factory=list)
    takes: int | None = None

    async def publish(self, message: Message) -> None:
        if self.takes is not None:
            if self.takes == 0:
                raise BusUnavailable("The broker is away.")
            self.takes -= 1
        self.taken.append(message)

    async def measure(self, queues: Sequence[str]) -> Mapping[str, Depth]:
        return {queue: Depth(messages=0, consumers=1) for queue in queues}


@dataclass(frozen=True, slots=True)
class Row:
    """What the database says of one integration."""

    integration_id: UUID
    version: int
    status: str
    is_checked: bool
    lease_token: int
    has_lease: bool
    has_turn: bool
    is_due: bool
    has_incident: bool


class World:
    """One system. Every step of it is a transaction, or a message on its way."""

    def __init__(self, database: Database, url: str) -> None:
        self._database = database
        self._url = url
        self._rules = Rules(PluginCatalog(), AuthRefPolicy({}))
        self._call = Call(Actor(TENANT, "alice", frozenset(), expires_at=0), "request")
        self._connection = psycopg.connect(url, autocommit=True)
        self._moments = {
            str(table): list(columns)
            for table, columns in self._connection.execute(_MOMENTS).fetchall()
            if not str(table).startswith(_KEPT)
        }
        self.wire = Wire()

    async def prepare(self) -> None:
        async with self._database.system_transaction() as transaction:
            await transaction.plugins.put(a_plugin("registry"))

    def begin(self) -> None:
        """Forget everything."""
        self.wire = Wire()
        tables = [row[0] for row in self._connection.execute(_TABLES).fetchall()]
        with self._connection.transaction():
            # Without the triggers of foreign keys, the order does not matter.
            self._connection.execute("set local session_replication_role = replica")
            for table in tables:
                if not table.startswith(_KEPT):
                    self._connection.execute(
                        sql.SQL("delete from {}").format(sql.Identifier(table))
                    )

    def close(self) -> None:
        self._connection.close()

    # The API.

    async def register(self, **fields: Any) -> UUID:
        body = a_registration(**fields)
        # A host of its own: what many share is another matter.
        body["config"] = a_config(endpoint=f"https://{body['name']}.test")
        async with self._database.transaction(TENANT) as transaction:
            new = IntegrationCreate.model_validate(body)
            integration = await service.register(transaction, self._call, new, self._rules)
        return integration.id

    async def change(self, integration_id: UUID, **changes: Any) -> None:
        update = IntegrationUpdate.model_validate(changes)
        async with self._database.transaction(TENANT) as transaction:
            await service.change(transaction, self._call, integration_id, update, None, self._rules)

    async def remove(self, integration_id: UUID) -> None:
        async with self._database.transaction(TENANT) as transaction:
            await service.remove(transaction, self._call, integration_id, None)

    async def request_check(self, integration_id: UUID) -> UUID:
        """Ask for a check, or join the one that is in flight."""
        async with self._database.transaction(TENANT) as transaction:
            await transaction.schedule.lock(integration_id)
            requested = await transaction.check_requests.join_or_add(
                integration_id, requested_by="alice", timeout_seconds=10
            )
            if requested.started:
                transaction.outbox.ask(
                    RunRequestedCheck(
                        check_id=requested.check_id,
                        integration_id=integration_id,
                        tenant_id=TENANT,
                        trigger=CheckTrigger.ON_DEMAND,
                        request_id="request",
                    )
                )
        return requested.check_id

    # The scheduler, the relay, the worker.

    async def tick(self, *, broker_takes: int | None) -> None:
        self.wire.takes = broker_takes
        try:
            await Scheduler(self._database, self.wire, Metrics()).tick()
        except BusUnavailable:
            assert broker_takes is not None
        finally:
            self.wire.takes = None

    async def relay(self, *, limit: int, broker_takes: int | None, dies: bool) -> int:
        """Publish some of the outbox. A relay that dies marks nothing of what it published."""
        taken = await self._database.claim(limit)
        published = []
        stuck = set()
        self.wire.takes = broker_takes
        for each in taken:
            if each.ordering_key in stuck:
                continue
            try:
                await self.wire.publish(each.message)
            except BusUnavailable:
                stuck.add(each.ordering_key)
            else:
                published.append(each.sequence)
        self.wire.takes = None
        if not dies:
            await self._database.mark_published(published)
            left = [each.sequence for each in taken if each.sequence not in published]
            if left:
                await self._database.release(left)
        return len(taken)

    async def probe(self, message: Message, result: HealthResult) -> list[Outcome]:
        """What a worker finds that takes this message."""
        async with self._database.system_transaction() as transaction:
            scheduling = transaction.scheduling
            targets: Sequence[Target]
            if message.routing_key == ON_DEMAND:
                asked = RunRequestedCheck.model_validate_json(message.body)
                target = await scheduling.find_requested(asked.check_id)
                targets = [target] if target else []
            else:
                command = RunScheduledChecks.model_validate_json(message.body)
                targets = await scheduling.load_scheduled(command.checks)
        return [outcome(target, result) for target in targets]

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        async with self._database.system_transaction() as transaction:
            await record_outcomes(transaction, outcomes, Metrics())

    def pass_time(self, seconds: int) -> None:
        """Everything that was, was so much longer ago."""
        for table, columns in self._moments.items():
            moved = sql.SQL(", ").join(
                sql.SQL("{0} = {0} - make_interval(secs => {1})").format(
                    sql.Identifier(column), sql.Literal(seconds)
                )
                for column in columns
            )
            self._connection.execute(
                sql.SQL("update {} set {}").format(sql.Identifier(table), moved)
            )

    def let_turns_come(self) -> None:
        """Who waits for the next slot has waited long enough."""
        self._connection.execute(
            "update schedule_state set next_check_at = now()"
            " where slot_at is null and next_check_at is not null"
        )

    def let_leases_end(self) -> None:
        """Whoever was given something has kept it too long."""
        self._connection.execute(
            "update schedule_state set next_check_at = now() where slot_at is not null"
        )
        self._connection.execute(
            "update outbox set leased_until = now() - interval '1 second', available_at = now()"
            " where published_at is null"
        )

    # What there is to see.

    def commands(self) -> list[Message]:
        return [each for each in self.wire.taken if each.routing_key in {SCHEDULE, ON_DEMAND}]

    def heard(self) -> list[dict[str, Any]]:
        """What a subscriber counts that counts an event once, in the order of arrival."""
        events = {
            each.id: orjson.loads(each.body) for each in self.wire.taken if each.exchange == EVENTS
        }
        return list(events.values())

    def rows(self) -> dict[UUID, Row]:
        return {row[0]: Row(*row) for row in self._connection.execute(_SCHEDULE).fetchall()}

    def history(self) -> list[UUID]:
        return self._column("select check_id from health_checks")

    def pending_requests(self) -> set[UUID]:
        return set(self._column("select check_id from check_requests"))

    def events(self) -> list[dict[str, Any]]:
        """What was committed to be announced, in its order."""
        bodies = self._column(
            "select body from outbox where exchange = 'stella.integrations.events'"
            " order by sequence"
        )
        return [orjson.loads(body) for body in bodies]

    def transitions(self) -> list[tuple[UUID, str, str]]:
        return [
            (row[0], row[1], row[2])
            for row in self._connection.execute(
                "select integration_id, from_status, to_status from status_transitions"
            ).fetchall()
        ]

    def unpublished(self) -> int:
        return len(self._column("select sequence from outbox where published_at is null"))

    def _column(self, query: str) -> list[Any]:
        return [row[0] for row in self._connection.execute(query).fetchall()]
