"""`stella events`: what happened, and following it across lost connections."""

import json
from typing import Any

import httpx
import pytest
from tests.unit.cli.hub import REGISTRY, Hub, Shell, a_page, a_problem, an_integration

CREATED = {
    "specversion": "1.0",
    "id": "01980000-0000-7000-8000-00000000f001",
    "type": "integration.created",
    "subject": REGISTRY,
    "time": "2026-11-24T11:00:00Z",
    "data": {"integrationId": REGISTRY, "name": "registry-eu", "version": 1, "changed": []},
}
DELETED = CREATED | {"type": "integration.deleted"}


def a_stream(*blocks: str) -> httpx.Response:
    return httpx.Response(
        200, headers={"Content-Type": "text/event-stream"}, content="".join(blocks)
    )


def sent(document: Any, event_id: str, event: str = "message") -> str:
    return f"id: {event_id}\nevent: {event}\ndata: {json.dumps(document)}\n\n"


def ended(reason: str) -> str:
    return f'event: end\ndata: {{"reason": "{reason}"}}\n\n'


BEGIN = "retry: 1000\n: heartbeat\nid: first\n\n"


def test_events_of_the_last_hour_are_shown_and_it_ends(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/events", a_stream(BEGIN, sent(CREATED, "one"), ended("caught_up")))

    result = shell.run("events")

    assert result.exit_code == 0
    assert result.stdout.split() == [
        "2026-11-24T11:00:00Z",
        "integration.created",
        "registry-eu",
        "version=1",
    ]
    assert dict(hub.requests[0].url.params) == {
        "follow": "false",
        "from": "2026-11-24T11:00:00+00:00",
    }


def test_following_goes_on_behind_what_was_read(hub: Hub, shell: Shell) -> None:
    hub.answers(
        "GET",
        "/events",
        a_stream(BEGIN, sent(CREATED, "one")),
        httpx.ConnectError("away"),
        httpx.ConnectError("still away"),
        a_stream(BEGIN.replace("first", "one"), ended("server_stopping")),
        a_stream(sent(DELETED, "two"), ended("caught_up")),
    )

    result = shell.run("events", "--follow", "-o", "json")

    assert [json.loads(line)["type"] for line in result.stdout.splitlines()] == [
        "integration.created",
        "integration.deleted",
    ]
    assert [each.headers.get("last-event-id") for each in hub.requests] == [
        *(None, "one", "one", "one", "one"),
    ]
    assert result.stderr.count("Trying again.") == 1
    assert "from" not in hub.requests[0].url.params


def test_filters_are_sent(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page(an_integration(name="registry-eu")))
    hub.answers("GET", "/events", a_stream(ended("caught_up")))

    shell.run(
        *("events", "--type", "integration.alert", "--type", "integration.deleted"),
        *("--integration", "registry-eu", "--since", "2h"),
    )

    assert hub.requests[-1].url.params.multi_items() == [
        ("type", "integration.alert"),
        ("type", "integration.deleted"),
        ("follow", "false"),
        ("integrationId", REGISTRY),
        ("from", "2026-11-24T10:00:00+00:00"),
    ]


def test_what_is_lost_is_said(hub: Hub, shell: Shell) -> None:
    reset = sent({"reason": "retention"}, "now", "reset")
    hub.answers("GET", "/events", a_stream(BEGIN, reset, sent(CREATED, "a"), ended("caught_up")))

    result = shell.run("events")

    assert "Some events are lost" in result.stderr
    assert "registry-eu" in result.stdout


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        pytest.param(a_stream(BEGIN, ended("token_expired")), 2, "Log in again", id="token"),
        pytest.param(a_problem(422), 2, "It cannot be.", id="refused"),
        pytest.param(httpx.ConnectError("away"), 1, "No answer", id="away"),
        pytest.param(a_stream("data: {\n\n"), 2, "not JSON", id="not JSON"),
    ],
)
def test_failures_end_it(
    answer: httpx.Response | Exception, code: int, said: str, hub: Hub, shell: Shell
) -> None:
    hub.answers("GET", "/events", answer)

    result = shell.run("events", "--follow")

    assert result.exit_code == code
    assert said in result.stderr


def test_control_characters_of_others_do_not_reach_the_terminal(hub: Hub, shell: Shell) -> None:
    nasty = CREATED | {"data": {"name": "\x1b[2Jregistry"}}
    hub.answers("GET", "/events", a_stream(sent(nasty, "a"), ended("caught_up")))

    assert "\x1b" not in shell.run("events").stdout
