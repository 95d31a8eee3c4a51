"""What a span is, what it may say, and what it costs when nothing is recorded."""

import json
import sys
import timeit
from collections.abc import Iterator
from uuid import UUID

import pytest
from tests.support.traces import Traces

from stella_contracts.health import CheckTrigger
from stella_health_worker.check_span import check_span
from stella_runtime.persistence.scheduling import Target
from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.spans import About
from stella_runtime.telemetry.trace_export import TracingMisconfigured
from stella_runtime.telemetry.tracing import configure_tracing, stop_tracing

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LEFT_OUT = PARENT.removesuffix("01") + "00"
TRACE = PARENT.split("-")[1]


@pytest.fixture(autouse=True)
def _nothing_recorded_afterwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    yield
    stop_tracing()


def sampled(headers: dict[str, str]) -> bool:
    return bool(int(headers["traceparent"][-2:], 16) & 1)


def test_a_step_is_below_the_one_that_it_is_taken_in(traces: Traces) -> None:
    with tracing.span("outer"), tracing.span("inner"):
        pass

    inner, outer = traces.one("inner"), traces.one("outer")
    assert (inner.parent_id, inner.trace_id) == (outer.span_id, outer.trace_id)


def test_a_message_carries_the_trace_on(traces: Traces) -> None:
    with tracing.sending({"traceparent": PARENT}, destination="events") as headers:
        pass
    with tracing.receiving(headers, destination="queue"):
        pass

    sent, received = traces.one("send events"), traces.one("process queue")
    assert sent.trace_id == received.trace_id == TRACE
    assert received.parent_id == sent.span_id


def test_what_is_current_goes_before_what_a_message_held(traces: Traces) -> None:
    with (
        tracing.span("now"),
        tracing.sending({"traceparent": PARENT}, destination="events") as headers,
    ):
        pass

    assert traces.one("send events").trace_id == traces.one("now").trace_id
    assert TRACE not in headers["traceparent"]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("", id="empty"),
        pytest.param("00-0-0-01", id="short"),
        pytest.param(f"ff-{'1' * 32}-{'2' * 16}-01", id="a version that is none"),
        pytest.param(f"00-{'0' * 32}-{'2' * 16}-01", id="no trace"),
        pytest.param("x" * 5000, id="long"),
    ],
)
def test_a_parent_that_is_malformed_is_none(traces: Traces, given: str) -> None:
    with tracing.serving([(b"traceparent", given.encode())]) as span:
        span.rename("GET /")

    assert traces.one("GET /").parent_id is None


def test_what_its_caller_leaves_out_is_left_out_and_passed_on(traces: Traces) -> None:
    with (
        tracing.serving([(b"traceparent", LEFT_OUT.encode())]),
        tracing.span("step"),
        tracing.sending({}, destination="events") as headers,
    ):
        pass

    assert traces.spans == []
    assert headers == {"traceparent": LEFT_OUT}


def test_vendors_get_back_what_they_sent_along(traces: Traces) -> None:
    given = [(b"traceparent", PARENT.encode()), (b"tracestate", b"vendor=1")]
    with tracing.serving(given):
        carried = tracing.carried()

    assert carried["tracestate"] == "vendor=1"


def test_an_error_is_told_by_its_class_alone(traces: Traces) -> None:
    with pytest.raises(ValueError, match="hunter2"), tracing.span("step"):
        raise ValueError("hunter2")

    [span] = traces.exporter.get_finished_spans()
    assert "hunter2" not in span.to_json()
    assert traces.one("step").attributes["error.type"] == "ValueError"
    assert traces.one("step").failed


def test_every_attribute_has_its_name(traces: Traces) -> None:
    about = About(
        integration_id="i", tenant_id="acme", provider_type="harbor", action="health_check"
    )
    with tracing.span("step") as span:
        for name in About.__annotations__:
            span.set(**{name: "x"})  # type: ignore[arg-type]
        span.set(**about)

    told = traces.one("step").attributes
    assert len(told) == len(About.__annotations__)
    assert {each: told[each] for each in ("integration.id", "tenant.id", "provider.type")} == {
        "integration.id": "i",
        "tenant.id": "acme",
        "provider.type": "harbor",
    }


def test_without_a_variable_there_is_no_exporter_and_no_span() -> None:
    configure_tracing("tests")

    with tracing.span("step"):
        assert tracing.carried() == {}
        assert tracing.trace_id() is None


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        pytest.param(
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER: otlp, console or none.",
            id="an exporter that there is not",
        ),
        pytest.param(
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: http/protobuf is what there is.",
            id="a protocol that there is not",
        ),
    ],
)
def test_variables_that_cannot_be_followed_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(TracingMisconfigured, match=says):
        configure_tracing("tests")


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"OTEL_TRACES_EXPORTER": "none"}, id="none"),
        pytest.param(
            {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}, id="switched off"
        ),
        pytest.param({"OTEL_SERVICE_NAME": "mine"}, id="a name alone"),
    ],
)
def test_variables_may_switch_it_off(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    configure_tracing("tests")

    with tracing.span("step"):
        assert tracing.trace_id() is None


def test_whoever_begins_a_trace_decides_and_the_ratio_is_for_those_that_begin_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    configure_tracing("tests")

    with tracing.new_trace("begun here"), tracing.span("below"):
        assert not sampled(tracing.carried())
    with tracing.receiving({"traceparent": PARENT}, destination="queue"):
        assert sampled(tracing.carried())

    stop_tracing()
    shown = [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["process queue"]


def test_the_console_shows_a_span_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    configure_tracing("tests")
    with tracing.span("first"), tracing.span("second"):
        pass

    stop_tracing()

    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["name"] for each in shown] == ["second", "first"]
    assert shown[0]["resource"]["attributes"]["service.name"] == "stella-tests"


TARGET = Target(
    check_id=UUID(int=1),
    trigger=CheckTrigger.SCHEDULE,
    integration_id=UUID(int=2),
    tenant_id="acme",
    provider_type="harbor",
    config={},
    auth_ref_uri=None,
    timeout_seconds=10,
    version=1,
    checks_before=0,
    connection=None,
    lease_token=1,
)


def scheduled_check() -> None:
    """What a scheduled check of one request asks of tracing."""
    with check_span(TARGET) as span:
        with tracing.requesting("GET", scheme="https", host="harbor.test", port=443) as request:
            request.answered(200)
        headers = tracing.carried()
        span.set(status="healthy", error_code=None)
    with tracing.resumed(headers), tracing.span("record result"):
        pass
    with tracing.resumed(headers):
        pass


def test_a_scheduled_check_pays_next_to_nothing_when_nothing_is_recorded() -> None:
    """Counted in calls of functions and not in time, which says something of the machine."""
    configure_tracing("tests")
    scheduled_check()
    calls = 0

    def count(frame: object, event: str, _: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    scheduled_check()
    sys.setprofile(None)

    assert calls < 60


if __name__ == "__main__":
    stop_tracing()
    print(f"{timeit.timeit(scheduled_check, number=100_000) * 10:.2f} us a check, nothing recorded")
