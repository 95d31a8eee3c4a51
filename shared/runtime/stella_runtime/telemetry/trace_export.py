"""
Where spans go, by the variables that OpenTelemetry has standardised.

`OTEL_TRACES_EXPORTER` names the exporter: `otlp`, `console` or `none`. Without it, an OTLP
endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) asks for `otlp`.
Without any of them there is none. What OpenTelemetry's SDK reads besides holds as it says there:
sampler, headers, limits, resource. The SDK is imported only if there is an exporter.
"""

import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

from stella_contracts.errors import Rejected

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer

STOP_SECONDS = 5.0
"""How long the last spans may take when a process ends. What is left then is lost."""

_PROTOCOL = "http/protobuf"


class TracingMisconfigured(Rejected):
    """The variables ask for what there is not; the message says what to set."""

    code = "tracing_misconfigured"


@dataclass(frozen=True, slots=True)
class Export:
    """What to record with, and how to end it."""

    tracer: "Tracer"
    stop: Callable[[], None]


def export_of_the_environment(service: str) -> Export | None:
    """What the variables ask for. Raises TracingMisconfigured."""
    wanted = _wanted()
    if wanted is None:
        return None
    # Not at the top: a process without an exporter is spared its time and memory.
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # Its queue is bounded, and full it drops: tracing never holds up what is traced.
    return export_to(BatchSpanProcessor(_exporter(wanted)), service=service)


def export_to(processor: "SpanProcessor", *, service: str) -> Export:
    """Record with a processor of one's own."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    about: dict[str, str] = {
        "service.version": version("stella-integrations"),
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
    }
    given = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not os.environ.get("OTEL_SERVICE_NAME") and "service.name=" not in given:
        about["service.name"] = f"stella-{service}"
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(processor)

    def stop() -> None:
        # In a thread, since the exporter would wait for a collector that is away.
        thread = threading.Thread(target=provider.shutdown, name="stop tracing", daemon=True)
        thread.start()
        thread.join(STOP_SECONDS)

    return Export(tracer=provider.get_tracer("stella"), stop=stop)


def _wanted() -> str | None:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    named = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if named in {"otlp", "console"}:
        return named
    if named == "none":
        return None
    if named:
        raise TracingMisconfigured("OTEL_TRACES_EXPORTER: otlp, console or none.")
    endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return "otlp" if any(os.environ.get(name) for name in endpoint) else None


def _exporter(wanted: str) -> "SpanExporter":
    if wanted == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(
            out=sys.stdout, formatter=lambda span: f"{span.to_json(indent=None)}{os.linesep}"
        )
    protocol = (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or _PROTOCOL
    )
    if protocol != _PROTOCOL:
        raise TracingMisconfigured(f"OTEL_EXPORTER_OTLP_PROTOCOL: {_PROTOCOL} is what there is.")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ModuleNotFoundError as error:
        raise TracingMisconfigured(
            "OTEL_TRACES_EXPORTER: for otlp, install stella-integrations[otlp]."
        ) from error
    return OTLPSpanExporter()
