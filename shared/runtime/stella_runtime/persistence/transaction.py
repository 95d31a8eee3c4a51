"""
Transactions: the only commit in the code.

A tenant's transaction sees that tenant's rows alone. The scheduler, the workers, discovery
and the relay work across tenants, through a way of their own with a name of its own.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cached_property

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from stella_runtime.messaging.relay import OutboxMessage
from stella_runtime.persistence import calls
from stella_runtime.persistence.alerts import Alerts
from stella_runtime.persistence.audit_chain import AuditChain
from stella_runtime.persistence.audit_expiry import AuditExpiry
from stella_runtime.persistence.audit_logs import AuditLogs
from stella_runtime.persistence.base import SystemSession, TenantSession
from stella_runtime.persistence.check_requests import CheckRequests
from stella_runtime.persistence.documents import Documents
from stella_runtime.persistence.driver_errors import SchemaMissing, driver_errors
from stella_runtime.persistence.events import EventNews, Events
from stella_runtime.persistence.health_checks import HealthChecks
from stella_runtime.persistence.history_partitions import HistoryPartitions
from stella_runtime.persistence.hub_conditions import HubConditions
from stella_runtime.persistence.idempotency_keys import IdempotencyKeys
from stella_runtime.persistence.incidents import Incidents
from stella_runtime.persistence.integrations import Integrations
from stella_runtime.persistence.leases import Leases
from stella_runtime.persistence.mutes import Mutes
from stella_runtime.persistence.outbox import Outbox
from stella_runtime.persistence.plugin_metadata import PluginMetadata
from stella_runtime.persistence.rolling_up import RollingUp
from stella_runtime.persistence.rollups import Rollups
from stella_runtime.persistence.schedule_state import ScheduleState
from stella_runtime.persistence.scheduling import Scheduling
from stella_runtime.persistence.status_transitions import StatusTransitions
from stella_runtime.persistence.webhook_deliveries import WebhookDeliveries
from stella_runtime.persistence.webhook_queue import WebhookQueue
from stella_runtime.persistence.webhook_sending import WebhookSending
from stella_runtime.persistence.webhooks import Webhooks


class Transaction:
    """One tenant's view of the database, until it is committed or rolled back."""

    def __init__(self, session: AsyncSession, tenant_id: str) -> None:
        self._session = session
        self.tenant_id = tenant_id
        self.outbox = Outbox(session)

    async def flush(self) -> None:
        """Send what was added so far, so that what the database makes of it can be read."""
        await self._session.flush()

    @cached_property
    def integrations(self) -> Integrations:
        return Integrations(self._session, self.tenant_id)

    @cached_property
    def schedule(self) -> ScheduleState:
        return ScheduleState(self._session, self.tenant_id)

    @cached_property
    def health_checks(self) -> HealthChecks:
        return HealthChecks(self._session)

    @cached_property
    def rollups(self) -> Rollups:
        return Rollups(self._session, self.tenant_id)

    @cached_property
    def check_requests(self) -> CheckRequests:
        return CheckRequests(self._session, self.tenant_id)

    @cached_property
    def incidents(self) -> Incidents:
        return Incidents(self._session)

    @cached_property
    def transitions(self) -> StatusTransitions:
        return StatusTransitions(self._session)

    @cached_property
    def mutes(self) -> Mutes:
        return Mutes(self._session, self.tenant_id)

    @cached_property
    def audit_logs(self) -> AuditLogs:
        return AuditLogs(self._session, self.tenant_id)

    @cached_property
    def audit_chain(self) -> AuditChain:
        return AuditChain(self._session, self.tenant_id)

    @cached_property
    def idempotency_keys(self) -> IdempotencyKeys:
        return IdempotencyKeys(self._session, self.tenant_id)

    @cached_property
    def events(self) -> Events:
        return Events(self._session, self.tenant_id)

    @cached_property
    def webhooks(self) -> Webhooks:
        return Webhooks(self._session, self.tenant_id)

    @cached_property
    def webhook_deliveries(self) -> WebhookDeliveries:
        return WebhookDeliveries(self._session, self.tenant_id)

    @cached_property
    def plugins(self) -> PluginMetadata:
        return PluginMetadata(self._session)


class SystemTransaction:
    """What the services' own work needs, across tenants. Never handed to a caller's request."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self.outbox = Outbox(session)
        self.leases = Leases(session)
        self.scheduling = Scheduling(session)
        self.plugins = PluginMetadata(session)
        self.transitions = StatusTransitions(session)
        self.event_news = EventNews(session)
        self.incidents = Incidents(session)
        self.alerts = Alerts(session)
        self.hub_conditions = HubConditions(session)
        self.partitions = HistoryPartitions(session)
        self.rolling_up = RollingUp(session)
        self.audit_expiry = AuditExpiry(session)
        self.webhook_queue = WebhookQueue(session)
        self.webhooks = WebhookSending(session)

    def audit_logs(self, tenant_id: str) -> AuditLogs:
        """
        The audit log of one tenant, or of NO_TENANT. Who writes to several in one transaction
        does so in the order of their names: each holds the end of its chain until the commit.
        """
        return AuditLogs(self._session, tenant_id)


class Database:
    """The pool, and the two ways in."""

    def __init__(
        self, engine: AsyncEngine, *, on_outbox: Callable[[], None] = lambda: None
    ) -> None:
        self._engine = engine
        self._on_outbox = on_outbox
        self.documents = Documents(engine.url)
        self._tenant_sessions = async_sessionmaker(
            engine, sync_session_class=TenantSession, expire_on_commit=False, autoflush=False
        )
        self._system_sessions = async_sessionmaker(
            engine, sync_session_class=SystemSession, expire_on_commit=False, autoflush=False
        )

    def announce_commits_to(self, wake: Callable[[], None]) -> None:
        """Call `wake` after each commit that put something into the outbox."""
        self._on_outbox = wake

    @asynccontextmanager
    async def transaction(self, tenant_id: str) -> AsyncIterator[Transaction]:
        """
        Commits on the way out, rolls back on an exception.

        Raises DatabaseUnavailable when the database is away, out of connections, or gave up
        on a lock or a statement; TransactionRolledBack if the same may simply be done again.
        """
        with driver_errors():
            async with self._tenant_sessions(info={"tenant_id": tenant_id}) as session:
                transaction = Transaction(session, tenant_id)
                yield transaction
                await self._finish(session, transaction.outbox)

    @asynccontextmanager
    async def system_transaction(self) -> AsyncIterator[SystemTransaction]:
        """As `transaction`, across all tenants."""
        with driver_errors():
            async with self._system_sessions() as session:
                transaction = SystemTransaction(session)
                yield transaction
                await self._finish(session, transaction.outbox)

    async def _finish(self, session: AsyncSession, outbox: Outbox) -> None:
        await session.flush()
        await outbox.flush()
        await session.commit()
        if outbox.used:
            self._on_outbox()

    async def check(self) -> None:
        """Raise DatabaseUnavailable unless a query is answered."""
        with driver_errors():
            async with self._engine.connect() as connection:
                await connection.execute(text("select 1"))

    async def check_schema(self) -> None:
        """Raise DatabaseUnavailable unless it answers, SchemaMissing unless it has our tables."""
        with driver_errors():
            async with self._engine.connect() as connection:
                found = await connection.scalar(text("select to_regclass('integration_documents')"))
        if found is None:
            raise SchemaMissing

    async def close(self) -> None:
        await self.documents.close()
        await self._engine.dispose()

    async def listen(self, called: Callable[[], None]) -> None:
        """Say whenever a process that cannot publish calls for one that can, until cancelled."""
        await calls.listen(self._engine.url, called)

    # The relay's view of the outbox: each step is a transaction, so that none is open while
    # the broker is awaited.

    async def claim(self, limit: int) -> Sequence[OutboxMessage]:
        async with self.system_transaction() as transaction:
            return await transaction.outbox.claim(limit)

    async def mark_published(self, sequences: Sequence[int]) -> None:
        async with self.system_transaction() as transaction:
            await transaction.outbox.mark_published(sequences)

    async def release(self, sequences: Sequence[int]) -> None:
        async with self.system_transaction() as transaction:
            await transaction.outbox.release(sequences)

    async def call_others(self) -> None:
        with driver_errors():
            await calls.call(self._engine)
