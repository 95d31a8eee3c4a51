"""What a span may say, and the three kinds of span: recorded, passed on, and nothing."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypedDict, Unpack

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import StatusCode

_SERVER_ERROR = 500


class About(TypedDict, total=False):
    """All that a span may say."""

    integration_id: str
    tenant_id: str
    provider_type: str
    action: str
    request_id: str
    check_id: str
    trigger: str
    status: str
    error_code: str | None
    plugin_id: str
    checks: int
    plugins: int
    changed: int
    method: str
    route: str
    status_code: int
    scheme: str
    host: str
    port: int
    messaging_system: str
    destination: str
    routing_key: str
    message_id: str
    operation: str
    attempt: int


# Of the semantic conventions where they have one.
_NAMES = {
    "integration_id": "integration.id",
    "tenant_id": "tenant.id",
    "provider_type": "provider.type",
    "action": "action",
    "request_id": "request.id",
    "check_id": "check.id",
    "trigger": "check.trigger",
    "status": "check.status",
    "error_code": "check.error_code",
    "plugin_id": "plugin.id",
    "checks": "checks",
    "plugins": "plugins.found",
    "changed": "plugins.changed",
    "method": "http.request.method",
    "route": "http.route",
    "status_code": "http.response.status_code",
    "scheme": "url.scheme",
    "host": "server.address",
    "port": "server.port",
    "messaging_system": "messaging.system",
    "destination": "messaging.destination.name",
    "routing_key": "messaging.rabbitmq.destination.routing_key",
    "message_id": "messaging.message.id",
    "operation": "messaging.operation.name",
    "attempt": "messaging.attempt",
}


class Span(Protocol):
    """A step of a trace: it lasts as long as the block that enters it."""

    def set(self, **about: Unpack[About]) -> None:
        """Say more of it."""

    def rename(self, name: str) -> None:
        """Call it by what it turned out to be."""

    def answered(self, status_code: int, *, failed_from: int = _SERVER_ERROR) -> None:
        """Say how a request was answered; from this code on it has failed."""

    def event(self, name: str, **about: Unpack[About]) -> None:
        """Something that happened at one moment of it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None: ...


class Unrecorded:
    """Nothing is recorded. What is current stays."""

    __slots__ = ()

    def set(self, **about: Unpack[About]) -> None: ...

    def rename(self, name: str) -> None: ...

    def answered(self, status_code: int, *, failed_from: int = _SERVER_ERROR) -> None: ...

    def event(self, name: str, **about: Unpack[About]) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None: ...


class Within(Unrecorded):
    """Nothing is recorded, and what came from elsewhere is current."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> Self:
        self._token = attach(self._context)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        detach(self._token)


class Recorded:
    __slots__ = ("_span", "_token")

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, **about: Unpack[About]) -> None:
        self._span.set_attributes(named(about))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def answered(self, status_code: int, *, failed_from: int = _SERVER_ERROR) -> None:
        self._span.set_attribute("http.response.status_code", status_code)
        if status_code >= failed_from:
            self._fail(str(status_code))

    def event(self, name: str, **about: Unpack[About]) -> None:
        self._span.add_event(name, named(about))

    def __enter__(self) -> Self:
        self._token = attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        detach(self._token)
        if kind is not None:
            # Its class alone: the text may hold a secret, and the log has what may be told.
            self._fail(kind.__name__)
        self._span.end()

    def _fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(StatusCode.ERROR)


UNRECORDED: Span = Unrecorded()


def named(about: Mapping[str, Any]) -> dict[str, Any]:
    """As attributes are named."""
    return {_NAMES[name]: value for name, value in about.items() if value is not None}
