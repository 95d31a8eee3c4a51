"""/healthz, /readyz and /metrics: the same in every process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from stella_contracts.errors import Unavailable
from stella_runtime.connections import HEAD_SECONDS, heads_within
from stella_runtime.telemetry.metrics import Metrics

log = structlog.get_logger()

CHECK_TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something the process needs. `check` raises Unavailable with a sentence if it is away."""

    check: Callable[[], Awaitable[None]]
    required: bool = True
    """False: the process is ready without it, and only says that it is away."""


def routes(dependencies: Mapping[str, Dependency], metrics: Metrics) -> list[Route]:
    """The three routes. /readyz answers 503 while something required is away, and names it."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        reasons = await asyncio.gather(*(_reason(each) for each in dependencies.values()))
        found = dict(zip(dependencies, reasons, strict=True))
        down = {name for name, reason in found.items() if reason is not None}
        missing = [name for name in down if dependencies[name].required]
        status = "unavailable" if missing else "degraded" if down else "ready"
        body: dict[str, object] = {"status": status}
        body |= {name: "down" if name in down else "up" for name in found}
        reasons_given = {name: reason for name, reason in found.items() if reason is not None}
        if reasons_given:
            body["reasons"] = reasons_given
        return JSONResponse(body, status_code=503 if missing else 200)

    async def metrics_page(_: Request) -> Response:
        return Response(metrics.exposition(), media_type=metrics.content_type)

    return [
        Route("/healthz", healthz, include_in_schema=False),
        Route("/readyz", readyz, include_in_schema=False),
        Route("/metrics", metrics_page, include_in_schema=False),
    ]


async def _reason(dependency: Dependency) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await dependency.check()
    except Unavailable as error:
        return str(error)
    except TimeoutError:
        return f"No answer within {CHECK_TIMEOUT_SECONDS:.0f} s."
    return None


@asynccontextmanager
async def serving(
    app: ASGIApp,
    *,
    host: str,
    port: int,
    drain_seconds: float,
    head_seconds: float = HEAD_SECONDS,
) -> AsyncIterator[int]:
    """
    Serve an application until the block ends, and yield the port it listens on.

    Leaving the block stops taking requests and lets the running ones finish. Raises OSError
    if the address is taken.
    """
    listening = socket.create_server((host, port), backlog=2048)
    listening.setblocking(False)
    server = _Server(
        uvicorn.Config(
            app,
            http=heads_within(head_seconds),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=max(1, int(drain_seconds)),
            limit_concurrency=1000,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """Leaves the signals of the process alone: they are lifecycle's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving_operations(
    dependencies: Mapping[str, Dependency], metrics: Metrics, *, host: str, port: int
) -> AsyncIterator[int]:
    """Serve the three routes alone, for a process that has no other HTTP."""
    app = Starlette(routes=routes(dependencies, metrics))
    async with serving(app, host=host, port=port, drain_seconds=1) as bound:
        log.info("operations_served", host=host, port=bound)
        yield bound
