"""From the HTTP call through outbox, bus, worker and plugin request, and back: one trace."""

from collections.abc import AsyncIterator

import orjson
import pytest
from tests.support.api import ANY_VERSION, Authority
from tests.support.harbor_server import PASSWORD
from tests.support.traces import Seen, Traces
from tests.support.whole_system import Whole, eventually, running_whole

from stella_runtime.persistence import Database

GATEWAY = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
GATEWAY_TRACE, GATEWAY_SPAN = GATEWAY.split("-")[1:3]


@pytest.fixture
async def whole(database: Database, authority: Authority, traces: Traces) -> AsyncIterator[Whole]:
    async with running_whole(database, authority) as system:
        yield system


def of_trace(traces: Traces, trace_id: str) -> list[Seen]:
    return [span for span in traces.spans if span.trace_id == trace_id]


ASKED = [
    "POST /integrations/{integration_id}/health-check",
    "request health check",
    "send stella.integrations.commands",
    "process health.ondemand",
]


async def test_a_check_that_was_asked_for_is_one_trace_there_and_back(
    whole: Whole, traces: Traces
) -> None:
    integration_id = await whole.register()
    traces.exporter.clear()

    answer = await whole.check(integration_id, traceparent=GATEWAY)
    event = "send stella.integrations.events"
    await eventually(lambda: GATEWAY_TRACE in [span.trace_id for span in traces.named(event)])

    paths = [traces.path(span) for span in of_trace(traces, GATEWAY_TRACE)]
    assert ASKED in paths
    assert [*ASKED, "health check"] in paths
    assert [*ASKED, "health check", "GET"] in paths
    assert [*ASKED, "health check", "record result"] in paths
    assert [*ASKED, "health check", event] in paths
    reply = [*ASKED, "send stella.integrations.replies", "process stella.integrations.replies"]
    assert reply in paths
    server = traces.one(ASKED[0])
    assert (server.kind, server.parent_id) == ("server", GATEWAY_SPAN)
    assert answer.json()["status"] == "healthy"


async def test_each_step_is_of_the_kind_that_conventions_give_it(
    whole: Whole, traces: Traces
) -> None:
    integration_id = await whole.register()
    traces.exporter.clear()

    await whole.check(integration_id, traceparent=GATEWAY)

    kinds = {span.name: span.kind for span in of_trace(traces, GATEWAY_TRACE)}
    assert kinds["send stella.integrations.commands"] == "producer"
    assert kinds["process health.ondemand"] == "consumer"
    assert kinds["health check"] == "internal"
    assert kinds["GET"] == "client"


async def test_an_event_names_the_trace_that_it_came_from(whole: Whole, traces: Traces) -> None:
    integration_id = await whole.register()

    await whole.check(integration_id, traceparent=GATEWAY)
    await eventually(lambda: len(whole.events) == 2)

    [changed] = [each for each in whole.events if each["type"] == "integration.health.changed"]
    [check] = [each for each in traces.named("health check") if each.trace_id == GATEWAY_TRACE]
    assert changed["traceparent"] == f"00-{GATEWAY_TRACE}-{check.span_id}-01"


async def test_spans_say_which_integration_and_what_was_done(whole: Whole, traces: Traces) -> None:
    integration_id = await whole.register()
    await whole.check(integration_id, traceparent=GATEWAY)
    await whole.http.get(f"/integrations/{integration_id}")
    await whole.http.get("/integrations")
    await whole.http.put(
        f"/integrations/{integration_id}", json={"tags": ["eu"]}, headers=ANY_VERSION
    )
    await whole.http.delete(f"/integrations/{integration_id}")

    about = ("integration.id", "tenant.id", "provider.type", "action")
    told = {span.name: tuple(span.attributes.get(name) for name in about) for span in traces.spans}
    one = (integration_id, "acme", "harbor")
    assert told["create integration"] == (*one, "integration.created")
    assert told["read integration"] == (*one, "integration.read")
    assert told["update integration"] == (*one, "integration.updated")
    assert told["delete integration"] == (integration_id, "acme", None, "integration.deleted")
    assert told["list integration"] == (None, "acme", None, "integration.listed")
    assert told["health check"] == (*one, "health_check")
    assert told["discover plugins"] == (None, None, None, "plugins.scan")


async def test_no_span_shows_a_secret_a_query_or_where_a_secret_is(
    whole: Whole, traces: Traces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARBOR_LOGIN", f'{{"username": "admin", "password": "{PASSWORD}"}}')
    integration_id = await whole.register(authRefUri="authref://env/HARBOR_LOGIN")
    await whole.check(integration_id, traceparent=GATEWAY)
    whole.harbor.state = "error"
    await whole.check(integration_id, traceparent=GATEWAY)
    await whole.http.get("/integrations", params={"q": "hunter2"})

    shown = orjson.dumps([span.to_json() for span in traces.exporter.get_finished_spans()]).decode()
    assert traces.named("GET")
    for hidden in (PASSWORD, "authref", "HARBOR_LOGIN", "hunter2", "Bearer", "api/v2.0"):
        assert hidden not in shown


async def test_a_request_that_fails_is_marked_and_its_status_told(
    whole: Whole, traces: Traces
) -> None:
    integration_id = await whole.register()
    whole.harbor.state = "error"
    traces.exporter.clear()

    await whole.check(integration_id, traceparent=GATEWAY)

    check = traces.one("health check")
    request = traces.named("GET")[0]
    assert (request.failed, request.attributes["http.response.status_code"]) == (True, 500)
    assert request.attributes["error.type"] == "500"
    assert (check.attributes["check.status"], check.attributes["check.error_code"]) == (
        "unhealthy",
        "remote_error",
    )


async def test_what_a_caller_does_not_record_is_not_recorded(whole: Whole, traces: Traces) -> None:
    integration_id = await whole.register()
    traces.exporter.clear()

    await whole.check(integration_id, traceparent=GATEWAY.removesuffix("01") + "00")
    await eventually(lambda: len(whole.events) == 2)

    assert of_trace(traces, GATEWAY_TRACE) == []
    assert whole.events[-1]["traceparent"] == GATEWAY.removesuffix("01") + "00"


async def test_without_an_exporter_a_trace_is_passed_on(
    database: Database, authority: Authority
) -> None:
    async with running_whole(database, authority) as whole:
        integration_id = await whole.register()

        await whole.check(integration_id, traceparent=GATEWAY)
        await eventually(lambda: len(whole.events) == 2)

    assert "traceparent" not in whole.events[0]
    assert whole.events[1]["traceparent"] == GATEWAY


@pytest.mark.parametrize("told", [False, True])
async def test_a_tool_is_told_of_the_trace_only_if_that_is_wanted(
    database: Database, authority: Authority, traces: Traces, *, told: bool
) -> None:
    async with running_whole(database, authority, send_traceparent=told) as whole:
        await whole.check(await whole.register(), traceparent=GATEWAY)

    asked = whole.harbor.headers[-1].get("traceparent")
    if not told:
        assert asked is None
        return
    assert asked in {f"00-{span.trace_id}-{span.span_id}-01" for span in traces.named("GET")}


async def test_a_scheduled_check_has_a_trace_of_its_own_linked_to_the_tick(
    database: Database, authority: Authority, traces: Traces
) -> None:
    async with running_whole(database, authority, role="all") as whole:
        for number in range(3):
            await whole.register(name=f"registry-{number}")
        await eventually(lambda: len(traces.named("record result")) == 3)
        await eventually(lambda: len(traces.named("process health.schedule")) >= 1)

    checks = traces.named("health check")
    ticks = {span.trace_id for span in traces.named("schedule checks")}
    consumed = {span.span_id: span for span in traces.named("process health.schedule")}
    assert len({check.trace_id for check in checks}) == 3
    for check in checks:
        [cause] = check.links
        assert check.parent_id is None
        assert consumed[cause].trace_id in ticks
        assert traces.path(consumed[cause]) == [
            "schedule checks",
            "send stella.integrations.commands",
            "process health.schedule",
        ]


async def test_a_scan_that_was_asked_for_goes_on_in_its_trace(whole: Whole, traces: Traces) -> None:
    traces.exporter.clear()

    answer = await whole.http.post(
        "/plugins/discover", headers={"Prefer": "wait=20", "traceparent": GATEWAY}
    )

    assert answer.status_code == 200, answer.text
    assert [
        "POST /plugins/discover",
        "send stella.integrations.commands",
        "process plugins.discover",
        "discover plugins",
    ] in [traces.path(span) for span in of_trace(traces, GATEWAY_TRACE)]
