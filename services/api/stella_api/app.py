"""Builds and serves the application; the only module that knows every part."""

import asyncio
from contextlib import AsyncExitStack

import httpx
import structlog

from stella_api import problems
from stella_api.audit.refusals import Refusals
from stella_api.audit.routes import router as audit
from stella_api.authentication import Authenticator
from stella_api.cursors import Cursors
from stella_api.events.routes import router as events
from stella_api.events.streams import EventStreams
from stella_api.health.routes import router as health
from stella_api.health.transitions import router as transitions
from stella_api.integrations.bulk import router as bulk
from stella_api.integrations.direct import DirectReads
from stella_api.integrations.drafts import router as drafts
from stella_api.integrations.routes import router as integrations
from stella_api.keys import Keys
from stella_api.middleware import BodyBounds, RequestContext, Unexpected
from stella_api.mutes.routes import router as mutes
from stella_api.openapi import Described, operation_id
from stella_api.plugin_catalog import PluginCatalog
from stella_api.plugins.routes import router as plugins
from stella_api.quotas import Quotas
from stella_api.repeating import Repeating
from stella_api.settings import ApiSettings
from stella_api.waiting import Waiting
from stella_api.webhooks.routes import router as webhooks
from stella_runtime.messaging.bus import Bus
from stella_runtime.operations import Dependency, routes, serving
from stella_runtime.persistence import Database
from stella_runtime.process import process
from stella_runtime.secrets import AuthRefPolicy
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()

DESCRIPTION = """
Every connection to an external tool, whether it works right now, and if not, why and since when.

Errors are problems (RFC 9457) whose `type` is stable. Lists are paged by cursor. Changes are
guarded by `If-Match`, registrations by `Idempotency-Key`.
"""


class Api:
    """The service as a part of a process, its own or one that it shares."""

    def __init__(
        self, settings: ApiSettings, database: Database, bus: Bus, metrics: Metrics
    ) -> None:
        self._http = httpx.AsyncClient(trust_env=False)
        keys = Keys(settings.trusted.jwks_url, self._http)
        self._waiting = Waiting(bus)
        self._event_streams = EventStreams(settings, database, bus, metrics)
        app = Described(
            title="Stella Ops Integrations",
            version="0.1.0",
            description=DESCRIPTION,
            redirect_slashes=False,
            generate_unique_id_function=operation_id,
            redoc_url=None,
            # Its own would show queries and the texts of exceptions.
            telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        )
        app.state.database = database
        app.state.authenticator = Authenticator(settings, keys)
        app.state.quotas = Quotas(settings.tenant_requests_per_minute)
        app.state.bus = bus
        app.state.cursors = Cursors(settings.signing_key)
        app.state.event_streams = self._event_streams
        app.state.plugin_catalog = PluginCatalog()
        app.state.authref_policy = AuthRefPolicy(settings.authref_policy)
        app.state.waiting = self._waiting
        app.state.metrics = metrics
        refusals = Refusals(database)
        problems.install(app, refusals.tell)
        # Discovery first: its path under /integrations must not be taken for an id.
        for router in (
            plugins,
            drafts,
            bulk,
            integrations,
            health,
            transitions,
            mutes,
            audit,
            events,
            webhooks,
        ):
            app.include_router(router, prefix="/api/v1")
        app.router.routes.extend(
            routes(
                {
                    "database": Dependency(database.check_schema),
                    "bus": Dependency(bus.check, required=False),
                    "keys": Dependency(keys.check, required=False),
                },
                metrics,
            )
        )
        # The last one added is the outermost.
        app.add_middleware(DirectReads)
        app.add_middleware(Repeating)
        app.add_middleware(
            BodyBounds, max_bytes=settings.max_body_bytes, seconds=settings.body_seconds
        )
        app.add_middleware(Unexpected, tell_of_refusal=refusals.tell)
        app.add_middleware(RequestContext, metrics=metrics)
        self.application = app

    async def run(self) -> None:
        """Listen for replies and events until cancelled. Then streams of events end."""
        # Not `async with`: a request that came first has opened the client already.
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._waiting.run())
                group.create_task(self._event_streams.run())
        finally:
            await self._http.aclose()


async def serve(settings: ApiSettings) -> None:
    """Run until a signal: stop taking requests, finish those that run, close."""
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(process(settings, name="stella-api"))
        api = Api(settings, opened.database, opened.bus, opened.metrics)
        port = await stack.enter_async_context(
            serving(
                api.application,
                host=settings.host,
                port=settings.port,
                drain_seconds=settings.drain_seconds,
            )
        )
        log.info("api_served", host=settings.host, port=port)
        await opened.run(api.run())
