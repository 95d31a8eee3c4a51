"""Spans that this process records, kept in memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stella_runtime.telemetry.trace_export import export_to
from stella_runtime.telemetry.tracing import configure_tracing, stop_tracing


@dataclass(frozen=True, slots=True)
class Seen:
    """A span that has ended, as a backend of traces would have it."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str | None
    links: Sequence[str]
    """The spans that it names as its causes."""
    attributes: Mapping[str, object]
    failed: bool


class Traces:
    """What was recorded since the test began."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    @property
    def spans(self) -> list[Seen]:
        return [_seen(span) for span in self.exporter.get_finished_spans()]

    def named(self, name: str) -> list[Seen]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Seen:
        [found] = self.named(name)
        return found

    def path(self, span: Seen) -> list[str]:
        """The names from the root of its trace down to a span."""
        spans = {each.span_id: each for each in self.spans}
        names = [span.name]
        while span.parent_id in spans:
            span = spans[span.parent_id]
            names.append(span.name)
        return names[::-1]


def _seen(span: ReadableSpan) -> Seen:
    assert span.context is not None
    return Seen(
        name=span.name,
        kind=span.kind.name.lower(),
        trace_id=f"{span.context.trace_id:032x}",
        span_id=f"{span.context.span_id:016x}",
        parent_id=None if span.parent is None else f"{span.parent.span_id:016x}",
        links=[f"{link.context.span_id:016x}" for link in span.links],
        attributes=dict(span.attributes or {}),
        failed=not span.status.is_unset and not span.status.is_ok,
    )


@pytest.fixture
def traces() -> Iterator[Traces]:
    """Records every span of this process while the test runs."""
    recorded = Traces()
    processor = SimpleSpanProcessor(recorded.exporter)
    configure_tracing("tests", export=export_to(processor, service="tests"))
    yield recorded
    stop_tracing()
