"""
One trace through every process. With `spans` and `trace_export`, the only home of OpenTelemetry.

Without `configure_tracing`, or without an exporter in the environment, nothing is recorded and a
span costs a fraction of a microsecond. A trace that comes in with a request or a message is
passed on all the same, so that the hub is no gap in the traces of others.

What a span may say is the closed list of `About`: no URL, no query, no header, no text of an
exception, nothing of a config or of a secret. Whoever began a trace has decided whether it is
recorded, and is followed.
"""

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Unpack

import orjson
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stella_runtime.telemetry.spans import UNRECORDED, About, Recorded, Span, Within, named
from stella_runtime.telemetry.trace_export import Export, export_of_the_environment

TRACEPARENT = "traceparent"
_W3C = TraceContextTextMapPropagator()
_OF_W3C = (TRACEPARENT, "tracestate")


class _Process:
    """What this process records with. As structlog, it is set up once and reached from anywhere."""

    tracer: Tracer | None = None
    stop: Callable[[], None] | None = None


_process = _Process()


def configure_tracing(service: str, *, export: Export | None = None) -> None:
    """
    Record what follows, if the OTEL_* variables name an exporter (or `export` is given).

    Raises TracingMisconfigured when they name what there is not.
    """
    stop_tracing()
    export = export or export_of_the_environment(service)
    if export is not None:
        _process.tracer, _process.stop = export.tracer, export.stop


def stop_tracing() -> None:
    """Send what is recorded, within a few seconds, and record no more."""
    stop, _process.tracer, _process.stop = _process.stop, None, None
    if stop is not None:
        stop()


def is_recording() -> bool:
    """Whether a span may be worth its attributes: for paths where even those count."""
    return _process.tracer is not None


def trace_id() -> str | None:
    """The id of the trace that is current, as 32 hexadecimal digits."""
    current = trace.get_current_span().get_span_context()
    return f"{current.trace_id:032x}" if current.is_valid else None


def carried() -> dict[str, str]:
    """The headers that carry the current trace to whoever comes next; none without a trace."""
    headers: dict[str, str] = {}
    if trace.get_current_span() is not trace.INVALID_SPAN:
        _W3C.inject(headers)
    return headers


def headers_of(event: bytes) -> dict[str, str]:
    """The headers of the trace that an event (CloudEvents, JSON) names, if any is recorded."""
    if _process.tracer is None:
        return {}
    traceparent = orjson.loads(event).get(TRACEPARENT)
    return {TRACEPARENT: traceparent} if isinstance(traceparent, str) else {}


def tell(**about: Unpack[About]) -> None:
    """Say more of the step that is current."""
    current = trace.get_current_span()
    if current.is_recording():
        current.set_attributes(named(about))


def span(name: str, **about: Unpack[About]) -> Span:
    """A step of the current trace, or the first of a new one."""
    if _process.tracer is None:
        return UNRECORDED
    return _child(name, SpanKind.INTERNAL, about)


def new_trace(name: str, *, started_ns: int | None = None, **about: Unpack[About]) -> Span:
    """
    A trace of its own, linked to what is current.

    For each of many things that one message brings: conventions have them linked to it, since
    a trace of a thousand checks could be neither read nor sampled.
    """
    tracer = _process.tracer
    if tracer is None:
        return UNRECORDED
    cause = trace.get_current_span().get_span_context()
    return Recorded(
        tracer.start_span(
            name,
            context=Context(),
            attributes=named(about),
            links=[Link(cause)] if cause.is_valid else None,
            start_time=started_ns,
        )
    )


def resumed(headers: Mapping[str, str]) -> Span:
    """Go on with the trace that the headers carry, in a block that is no step of its own."""
    context = _context_of(headers)
    return UNRECORDED if context is None else Within(context)


def serving(headers: Iterable[tuple[bytes, bytes]], **about: Unpack[About]) -> Span:
    """A request that this process answers; its caller's trace goes on, if it has one."""
    given: dict[str, str] = {}
    for name, value in headers:
        if name in (b"traceparent", b"tracestate"):
            given[name.decode()] = value.decode("latin-1")
    return _continued("request", SpanKind.SERVER, given, about)


def requesting(method: str, *, scheme: str, host: str, port: int) -> Span:
    """A request that this process sends. Where it goes is told by host alone: see the module."""
    if _process.tracer is None:
        return UNRECORDED
    about = About(method=method, scheme=scheme, host=host, port=port)
    return _child(method, SpanKind.CLIENT, about)


def sending(headers: Mapping[str, str], **about: Unpack[About]) -> "Sending":
    """A message on its way to the bus: in the current trace, or else in that of its headers."""
    if _process.tracer is None and trace.get_current_span() is trace.INVALID_SPAN:
        return Sending(UNRECORDED, headers)
    name, kind = f"send {about['destination']}", SpanKind.PRODUCER
    if trace.get_current_span() is trace.INVALID_SPAN:
        return Sending(_continued(name, kind, headers, about), headers)
    return Sending(_child(name, kind, about), headers)


def receiving(headers: Mapping[str, str], **about: Unpack[About]) -> Span:
    """A message that this process handles: the trace of who sent it goes on."""
    if _process.tracer is None and TRACEPARENT not in headers:
        return UNRECORDED
    return _continued(f"process {about['destination']}", SpanKind.CONSUMER, headers, about)


class Sending:
    """Entered, it gives the headers to send, which carry the trace on."""

    __slots__ = ("_headers", "_span")

    def __init__(self, span: Span, headers: Mapping[str, str]) -> None:
        self._span = span
        self._headers = headers

    def __enter__(self) -> Mapping[str, str]:
        self._span.__enter__()
        carrying = carried()
        return {**self._headers, **carrying} if carrying else self._headers

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        place: TracebackType | None,
    ) -> None:
        self._span.__exit__(kind, error, place)


def _child(name: str, kind: SpanKind, about: Mapping[str, Any]) -> Span:
    tracer = _process.tracer
    if tracer is None or _is_left_out(trace.get_current_span().get_span_context()):
        return UNRECORDED
    return Recorded(tracer.start_span(name, kind=kind, attributes=named(about)))


def _continued(
    name: str, kind: SpanKind, headers: Mapping[str, str], about: Mapping[str, Any]
) -> Span:
    context = _context_of(headers)
    tracer = _process.tracer
    if tracer is None:
        return UNRECORDED if context is None else Within(context)
    if context is None:
        context = Context()
    elif _is_left_out(trace.get_current_span(context).get_span_context()):
        return Within(context)
    return Recorded(tracer.start_span(name, context=context, kind=kind, attributes=named(about)))


def _is_left_out(parent: SpanContext) -> bool:
    """Whoever began this trace does not record it."""
    return parent.is_valid and not parent.trace_flags.sampled


def _context_of(headers: Mapping[str, str]) -> Context | None:
    """What the headers carry; None without a trace, and for one that is malformed."""
    if TRACEPARENT not in headers:
        return None
    carrier = {name: headers[name] for name in _OF_W3C if name in headers}
    context = _W3C.extract(carrier)
    return context if trace.get_current_span(context).get_span_context().is_valid else None
