"""The whole system in one process: embedded PostgreSQL, in-process bus, every service."""

import asyncio
import socket
import sys
from contextlib import AsyncExitStack
from typing import Any

import structlog

from stella_api.app import Api
from stella_api.settings import ApiSettings
from stella_discovery.app import Discovery
from stella_discovery.settings import DiscoverySettings
from stella_embedded import issuer
from stella_embedded.announcements import show_events
from stella_embedded.background import NotStarted
from stella_embedded.greeting import greeting, write_environment
from stella_embedded.postgres import bundled_binaries, embedded_postgres
from stella_embedded.settings import PRIVATE_NETWORKS, EmbeddedSettings
from stella_health_worker.app import parts as health_worker_parts
from stella_health_worker.settings import HealthWorkerSettings
from stella_migrations.commands import upgrade
from stella_runtime.lifecycle import supervise
from stella_runtime.messaging.in_process import InProcessBus
from stella_runtime.messaging.relay import Relay
from stella_runtime.operations import serving
from stella_runtime.persistence import Database, open_engine
from stella_runtime.telemetry.logging import configure_logging
from stella_runtime.telemetry.metrics import Metrics
from stella_runtime.telemetry.tracing import configure_tracing, stop_tracing

log = structlog.get_logger()

POOL_SIZE = 20


async def serve(settings: EmbeddedSettings) -> None:
    """Start everything, say where it is, and stop it all at a signal."""
    configure_logging(settings.log_level, service="embedded")
    port = _free(settings.host, settings.port)
    url = f"http://{settings.host}:{port}"
    authority = issuer.Issuer.from_file(settings.folder / "issuer.pem")
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        configure_tracing("embedded")
        stack.callback(stop_tracing)
        database_url = await stack.enter_async_context(
            embedded_postgres(bundled_binaries(), settings.folder / "postgres")
        )
        await asyncio.to_thread(upgrade, database_url)
        database = Database(
            open_engine(database_url, pool_size=POOL_SIZE, application="stella-embedded")
        )
        stack.push_async_callback(database.close)
        bus = await stack.enter_async_context(InProcessBus())
        relay = Relay(database, bus)
        database.announce_commits_to(relay.wake)
        shared: dict[str, Any] = {
            "environment": "embedded",
            "database_url": database_url,
            "amqp_url": "amqp://in-process",
            "host": settings.host,
            "port": port,
        }
        api = Api(
            ApiSettings(
                **shared,
                issuer=issuer.ISSUER,
                audience=issuer.AUDIENCE,
                jwks_url=f"{url}/oauth/jwks",
            ),
            database,
            bus,
            metrics,
        )
        api.application.include_router(issuer.routes(authority))
        log.warning("development_issuer_on", url=url, meaning=issuer.MEANING)
        discovery = Discovery(DiscoverySettings(**shared).sources, database, bus, metrics)
        worker = HealthWorkerSettings(
            **shared, egress_allow=PRIVATE_NETWORKS, secret_folder=settings.folder / "secrets"
        )
        await stack.enter_async_context(
            serving(api.application, host=settings.host, port=port, drain_seconds=5)
        )
        await supervise(
            _greet(settings, discovery, authority, url),
            show_events(bus),
            api.run(),
            discovery.run(),
            *health_worker_parts(worker, database, bus, metrics),
            relay.run(),
        )


async def _greet(
    settings: EmbeddedSettings, discovery: Discovery, authority: issuer.Issuer, url: str
) -> None:
    """Wait for the first scan: before it no type is known, and nothing can be registered."""
    await discovery.scanned.wait()
    token = authority.token(tenant=settings.tenant, subject="developer")
    write_environment(settings, url=url, token=token)
    text = greeting(settings, url=url, token=token)
    sys.stdout.write(text)
    sys.stdout.flush()
    # Written whole, then named: who starts us in the background waits for the name.
    ready = settings.folder / "ready.txt"
    ready.with_suffix(".new").write_text(text)
    ready.with_suffix(".new").chmod(0o600)
    ready.with_suffix(".new").replace(ready)
    await asyncio.Event().wait()


def _free(host: str, port: int) -> int:
    """The port, or a free one for 0. Asked before anything is started, which takes seconds."""
    try:
        with socket.create_server((host, port)) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        raise NotStarted(
            f"Port {port} of {host} cannot be used ({error.strerror}). Choose another one:"
            " make up PORT=9000"
        ) from error
