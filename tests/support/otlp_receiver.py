"""A collector of traces: takes what a process exports by OTLP over HTTP."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stella_runtime.operations import serving


@dataclass(frozen=True, slots=True)
class Received:
    """A span, and the process that sent it."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str | None


@dataclass
class OtlpReceiver:
    """What has arrived."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    received = Received(
                        service=names["service.name"],
                        name=span.name,
                        trace_id=span.trace_id.hex(),
                        span_id=span.span_id.hex(),
                        parent_id=span.parent_span_id.hex() or None,
                    )
                    self.spans.append(received)

    def path(self, span: Received) -> list[tuple[str, str]]:
        """Services and names from the first span that was sent down to this one."""
        known = {each.span_id: each for each in self.spans}
        steps = [(span.service, span.name)]
        while span.parent_id in known:
            span = known[span.parent_id]
            steps.append((span.service, span.name))
        return steps[::-1]


@asynccontextmanager
async def otlp_receiver() -> AsyncIterator[OtlpReceiver]:
    """Serve on a free port until the block ends."""
    receiver = OtlpReceiver()

    async def take(request: Request) -> Response:
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        receiver.take(ExportTraceServiceRequest.FromString(body))
        return Response(b"", media_type="application/x-protobuf")

    app = Starlette(routes=[Route("/v1/traces", take, methods=["POST"])])
    async with serving(app, host="127.0.0.1", port=0, drain_seconds=1) as port:
        receiver.url = f"http://127.0.0.1:{port}"
        yield receiver
