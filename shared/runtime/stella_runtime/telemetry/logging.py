"""structlog, set up once a process: one JSON object a line, on standard output."""

import logging
import re
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from stella_runtime.telemetry import tracing

_SECRET_FIELDS = frozenset(
    {"authorization", "password", "secret", "token", "cookie", "private_key", "client_secret"}
)

# The forms that end up in messages; each begins with a literal, so that a search is quick.
_CREDENTIAL = re.compile(
    r"(?:Bearer|Basic) [A-Za-z0-9+/=._~-]{8,}"
    r"|(?<=://)[^\s/?#@:]{1,256}:[^\s/?#@]{1,256}(?=@)"
    r"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{2,}(?:\.[A-Za-z0-9_-]*)?"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
    r"|(?:ghp_|gho_|ghs_|github_pat_|glpat-|hvs\.|xox[bp]-|AKIA)[A-Za-z0-9_-]{12,}"
)

_OURS = logging.getLogger("stella")
"""Has the level that lines of ours are written from."""

_of_this_task: ContextVar[Callable[[], Mapping[str, str]] | None] = ContextVar(
    "of_this_task", default=None
)


def configure_logging(level: str, *, service: str) -> None:
    """Send structlog and the standard library's logging through one chain."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp"),
        _about_its_task,
        _within_its_trace,
        _without_secrets,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _without_credentials,
        _named_as_in_the_api,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=False,
    )
    _OURS.setLevel(level.upper())
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


def is_debugging() -> bool:
    """Whether lines of this level are written: for paths where even making one up counts."""
    return _OURS.isEnabledFor(logging.DEBUG)


def also_say(fields: Callable[[], Mapping[str, str]]) -> None:
    """
    Say more in every line of this task from here on, whoever writes it.

    What is said is asked for only when there is a line: at thousands of checks a second, hardly
    any of which has something to tell, this costs nothing.
    """
    _of_this_task.set(fields)


def _about_its_task(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    fields = _of_this_task.get()
    return event if fields is None else {**fields(), **event}


def _within_its_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    trace_id = tracing.trace_id()
    if trace_id is not None:
        event.setdefault("trace_id", trace_id)
    return event


def _named_as_in_the_api(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # Fields are snake_case in the code and camelCase in what is read.
    return {_camel(name): value for name, value in event.items()}


@lru_cache(maxsize=1024)
def _camel(name: str) -> str:
    if name.startswith("_"):
        # Of structlog itself, for its next step.
        return name
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _without_credentials(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The texts of exceptions, and of other libraries, say what they like."""
    for name, value in event.items():
        if isinstance(value, str) and _CREDENTIAL.search(value):
            event[name] = _CREDENTIAL.sub("***", value)
    return event


def _without_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name in event:
        if name.lower() in _SECRET_FIELDS:
            event[name] = "***"
    return event
