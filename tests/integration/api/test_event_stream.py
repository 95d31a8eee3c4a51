"""`GET /events`: heard at once, resumed without a gap, bounded, and ended with a reason."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import httpx
import psycopg
import pytest
from tests.support.api import Authority, Hub, assert_problem, registered, running_hub
from tests.support.catalog import TENANT
from tests.support.events import Sent, Server, an_event, report, served
from tests.support.traces import Traces

from stella_contracts.messages import EventType
from stella_runtime.ids import new_id
from stella_runtime.persistence import Database
from stella_runtime.persistence.events import Place

OTHER = "globex"


@pytest.fixture
async def server(hub: Hub) -> AsyncIterator[Server]:
    async with served(hub) as running:
        yield running


def said(sent: list[Sent]) -> list[str]:
    """Names of what was told, and the reasons of what is no event of the catalog."""
    return [each.data.get("reason") or each.name for each in sent]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - conditions of any kind, polled
        await asyncio.sleep(0.01)


async def everything(server: Server, **query: Any) -> list[str]:
    async with server.reading(follow="false", **query) as reader:
        return said(await reader.rest())


async def test_a_change_is_heard_as_the_cloudevent_that_the_bus_carries(server: Server) -> None:
    async with server.reading() as reader:
        record = await registered(server.client(), name="registry-eu")
        [heard] = await reader.take(1)

    assert heard.type == heard.data["type"] == "integration.created"
    assert heard.data["specversion"] == "1.0"
    assert heard.data["tenantid"] == TENANT
    assert heard.data["subject"] == record["id"]
    assert heard.data["data"]["name"] == "registry-eu"


async def test_sending_an_event_is_a_step_of_the_trace_that_it_names(
    server: Server, traces: Traces
) -> None:
    async with server.reading() as reader:
        await registered(server.client(), name="registry-eu")
        await reader.take(1)

    paths = [traces.path(each) for each in traces.named("stream event")]
    assert paths == [["POST /integrations", "create integration", "stream event"]]


async def test_the_answer_is_one_that_no_proxy_keeps(server: Server) -> None:
    async with server.reading() as reader:
        headers = reader.response.headers

    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"


async def test_what_was_missed_is_told_once_and_in_order(server: Server, hub: Hub) -> None:
    async with server.reading() as reader:
        await report(hub.database, "a", "b")
        before = said(await reader.take(1))
        last_id = reader.last_id
    await report(hub.database, "c")
    await report(hub.database, "d", tenant=OTHER)
    async with server.reading(after=last_id) as reader:
        missed = said(await reader.take(2))
        await report(hub.database, "e")
        live = said(await reader.take(1))

    assert (before, missed, live) == (["a"], ["b", "c"], ["e"])


async def test_who_left_before_the_first_event_misses_nothing(server: Server, hub: Hub) -> None:
    async with server.reading() as reader:
        first_id = reader.last_id
    await report(hub.database, "a")

    assert await everything(server, after=first_id) == ["a", "caught_up"]
    assert await everything(server, lastEventId=first_id) == ["a", "caught_up"]


async def test_the_header_of_a_browser_that_comes_back_counts_more_than_its_url(
    server: Server, hub: Hub
) -> None:
    async with server.reading() as reader:
        old = reader.last_id
        await report(hub.database, "a")
        await reader.take(1)
        new = reader.last_id

    assert await everything(server, after=new, lastEventId=old) == ["caught_up"]


async def test_an_event_committed_late_is_told_although_later_ones_were_waiting(
    server: Server, hub: Hub
) -> None:
    async with server.reading() as reader:
        async with hub.database.transaction(TENANT) as slow:
            slow.outbox.report(an_event("slow"))
            await slow.outbox.flush()
            await report(hub.database, "fast")
            slow.outbox = type(slow.outbox)(slow.outbox._session)
        heard = said(await reader.take(2))

    assert heard == ["slow", "fast"]


async def test_only_what_is_asked_for_is_told(server: Server, hub: Hub) -> None:
    chosen = new_id()
    await report(hub.database, "mine", integration_id=chosen)
    await report(hub.database, "gone", event_type=EventType.INTEGRATION_DELETED)
    await report(hub.database, "other")
    since = "2020-01-01T00:00:00Z"

    by_type = await everything(server, **{"from": since, "type": "integration.deleted"})
    by_two = await everything(
        server, **{"from": since, "type": ["integration.deleted", "integration.created"]}
    )
    by_prefix = await everything(server, **{"from": since, "type": "integration"})
    by_id = await everything(server, **{"from": since, "integrationId": str(chosen)})
    later = await everything(server, **{"from": "2100-01-01T00:00:00Z"})

    assert by_type == ["gone", "caught_up"]
    assert by_two == by_prefix == ["mine", "gone", "other", "caught_up"]
    assert by_id == ["mine", "caught_up"]
    assert later == ["caught_up"]


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({"type": "integration.exploded"}, id="a type that is none"),
        pytest.param({"type": "integ"}, id="half a word"),
        pytest.param({"integrationId": "registry-eu"}, id="a name for an id"),
        pytest.param({"from": "yesterday"}, id="a moment that is none"),
    ],
)
async def test_what_can_never_be_told_is_refused(server: Server, query: dict[str, str]) -> None:
    answer = await server.client().get("/events", params=query)

    assert_problem(answer, 422, "invalid_request")


async def test_a_token_without_the_scope_hears_nothing(server: Server) -> None:
    answer = await server.client(scope="integrations:write").get("/events")

    assert_problem(answer, 403, "scope_missing")


async def test_another_tenants_id_is_as_unknown_as_any(server: Server, hub: Hub) -> None:
    async with server.reading() as reader:
        theirs = reader.last_id
    await report(hub.database, "secret")
    stranger = server.client(tenant=OTHER)

    with_theirs = await everything(server, client=stranger, after=theirs)
    with_any = await everything(server, client=stranger, after="never-heard-of")

    assert with_theirs == with_any == ["unknown_id", "caught_up"]


async def test_what_retention_has_deleted_is_told_as_a_reset_and_the_rest_follows(
    server: Server, hub: Hub, database_url: str
) -> None:
    async with server.reading() as reader:
        await report(hub.database, "a")
        await reader.take(1)
        last_id = reader.last_id
    await report(hub.database, "deleted")
    with psycopg.connect(database_url) as connection:
        connection.execute("update outbox set published_at = now() - interval '9 days'")
    async with hub.database.system_transaction() as transaction:
        await transaction.outbox.purge(timedelta(days=1))
    await report(hub.database, "kept")

    assert await everything(server, after=last_id) == ["retention", "kept", "caught_up"]


async def test_a_filtered_stream_moves_on_past_what_it_does_not_tell(
    database: Database, authority: Authority, database_url: str
) -> None:
    async with (
        running_hub(database, authority, event_heartbeat_seconds=0.05) as hub,
        served(hub) as server,
    ):
        async with server.reading(type="integration.deleted") as reader:
            began_at = reader.last_id
            await report(database, "not wanted")
            while reader.last_id == began_at:
                await reader.beat()
            last_id = reader.last_id
        with psycopg.connect(database_url) as connection:
            connection.execute("update outbox set published_at = now() - interval '9 days'")
        async with database.system_transaction() as transaction:
            await transaction.outbox.purge(timedelta(days=1))

        assert await everything(server, after=last_id) == ["caught_up"]


async def test_a_tenant_has_so_many_streams_and_no_more(
    database: Database, authority: Authority
) -> None:
    async with (
        running_hub(database, authority, event_streams=2, event_streams_per_tenant=1) as hub,
        served(hub) as server,
    ):
        async with server.reading():
            own = await server.client().get("/events")
            async with server.reading(server.client(tenant=OTHER)):
                any_ones = await server.client(tenant="third").get("/events")
        await until(lambda: b"integration_event_streams 0.0" in hub.metrics.exposition())
        async with server.reading():
            pass

    assert_problem(own, 429, "too_many_streams")
    assert own.headers["retry-after"] == "30"
    assert_problem(any_ones, 503, "streams_busy")


async def test_a_stream_ends_with_the_token(server: Server) -> None:
    # The leeway of a minute is over in a moment.
    client = server.client(exp=int(time.time()) - 58)

    async with server.reading(client) as reader:
        assert said(await reader.rest()) == ["token_expired"]


async def test_stopping_ends_streams_with_a_reason_and_waits_for_none(
    database: Database, authority: Authority
) -> None:
    async with (
        running_hub(database, authority) as hub,
        served(hub) as server,
        server.reading() as reader,
    ):
        ended = asyncio.create_task(reader.rest())
        await hub.stop()
        refused = await server.client().get("/events")

        assert said(await ended) == ["server_stopping"]
    assert_problem(refused, 503, "streams_closing")


async def test_a_reader_that_takes_nothing_is_told_so_and_resumes_where_it_was(
    database: Database, authority: Authority, database_url: str
) -> None:
    count = 1500
    async with (
        running_hub(database, authority, event_stall_seconds=0.2) as hub,
        served(hub) as server,
    ):
        async with server.reading() as reader:
            began_at = reader.last_id
        for _ in range(count // 100):
            # Of ten kilobytes each: more than the sockets take.
            await report(database, *(f"{number:010000}" for number in range(100)))
        url = httpx.URL(server.url)
        reader_socket = socket.create_connection((url.host, url.port or 0))
        reader_socket.setblocking(False)
        authorization = server.client().headers["authorization"]
        await asyncio.get_running_loop().sock_sendall(
            reader_socket,
            f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
            f"Last-Event-ID: {began_at}\r\nConnection: close\r\n\r\n".encode(),
        )
        await until(lambda: b'reason="too_slow"' in hub.metrics.exposition())
        received = b""
        while piece := await asyncio.get_running_loop().sock_recv(reader_socket, 1 << 20):
            received += piece
        reader_socket.close()
        ids = [
            line.removeprefix(b"id: ").decode()
            for line in received.split(b"\n")
            if line.startswith(b"id: ")
        ]
        told = received.count(b"event: integration.created")
        async with server.reading(after=ids[-1], follow="false") as rest_of_it:
            rest = await rest_of_it.rest()

    assert b'event: end\ndata: {"reason": "too_slow"}' in received
    assert 0 < told < count
    assert told + len(rest) - 1 == count


async def test_a_database_that_was_put_back_makes_ids_unknown(server: Server, hub: Hub) -> None:
    places = hub.application.state.event_streams._places
    ahead = places.write(Place(2**60, 0), tenant_id=TENANT)

    assert await everything(server, after=ahead) == ["unknown_id", "caught_up"]


async def test_streams_go_on_while_the_bus_is_away(server: Server, hub: Hub) -> None:
    await hub.bus.__aexit__(None, None, None)

    async with server.reading() as reader:
        await report(hub.database, "a")

        assert said(await reader.take(1)) == ["a"]
