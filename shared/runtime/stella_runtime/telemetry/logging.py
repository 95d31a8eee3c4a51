"""structlog, set up once a process: one JSON object a line, on standard output."""

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from stella_runtime.telemetry import tracing

# Fields are snake_case in the code and camelCase in what is read, as in the API.
_NAMES = {
    "integration_id": "integrationId",
    "tenant_id": "tenantId",
    "provider_type": "providerType",
    "request_id": "requestId",
    "trace_id": "traceId",
    "check_id": "checkId",
    "plugin_id": "pluginId",
    "error_code": "errorCode",
    "latency_ms": "latencyMs",
}

_SECRET_FIELDS = frozenset(
    {"authorization", "password", "secret", "token", "cookie", "private_key", "client_secret"}
)


def configure_logging(level: str, *, service: str) -> None:
    """Send structlog and the standard library's logging through one chain."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _within_its_trace,
        _named_as_in_the_api,
        _without_secrets,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.getLevelName(level.upper()), logging.WARNING))
    for name in ("aiormq", "aio_pika"):
        # They log each failed attempt as an error; our connection tells of an outage once.
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _within_its_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    trace_id = tracing.trace_id()
    if trace_id is not None:
        event.setdefault("trace_id", trace_id)
    return event


def _named_as_in_the_api(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {_NAMES.get(name, name): value for name, value in event.items()}


def _without_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name in event:
        if name.lower() in _SECRET_FIELDS:
            event[name] = "***"
    return event
