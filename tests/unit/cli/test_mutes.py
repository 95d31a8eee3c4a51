"""`stella mutes list|create|delete`."""

import json
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.unit.cli.hub import Hub, Shell, a_page, an_integration, ok

MUTE = "01980000-0000-7000-8000-00000000f001"


def a_mute(**fields: Any) -> dict[str, Any]:
    return {
        "id": MUTE,
        "integrationId": None,
        "type": None,
        "tag": "eu",
        "reason": "Upgrade",
        "startsAt": "2026-11-24T08:00:00Z",
        "endsAt": "2026-11-24T10:00:00Z",
        "createdBy": "alice",
        "createdAt": "2026-11-24T08:00:00Z",
    } | fields


def test_mutes_are_listed_with_what_they_mute(hub: Hub, shell: Shell) -> None:
    everything = a_mute(tag=None, reason="Move")
    hub.answers("GET", "/mutes", a_page(a_mute(type="harbor"), everything))

    result = shell.run("mutes", "list")

    _, first, second = result.stdout.splitlines()
    assert "type harbor, tag eu" in first
    assert "everything" in second


def test_a_window_begins_later_and_ends_so_long_after_its_start(hub: Hub, shell: Shell) -> None:
    integration = an_integration()
    hub.answers("GET", f"/integrations/{integration['id']}", ok(integration))
    hub.answers("POST", "/mutes", ok(a_mute(), 201))

    result = shell.run(
        *("mutes", "create", "--integration", integration["id"]),
        *("--from", "1d", "--until", "2h", "--reason", "Upgrade"),
    )

    assert result.exit_code == 0, result.output
    sent = hub.body("POST")
    begin, end = (datetime.fromisoformat(sent[name]) for name in ("startsAt", "endsAt"))
    assert end - begin == timedelta(hours=2)
    assert (sent["integrationId"], sent["reason"]) == (integration["id"], "Upgrade")
    assert sent.keys() == {"integrationId", "reason", "startsAt", "endsAt"}


@pytest.mark.parametrize("selector", [("--tag", "eu"), ("--type", "harbor"), ("--everything",)])
def test_what_is_muted_has_to_be_said(selector: tuple[str, ...], hub: Hub, shell: Shell) -> None:
    hub.answers("POST", "/mutes", ok(a_mute(), 201))
    said = ("mutes", "create", "--until", "2h", "--reason", "Upgrade")

    refused, done = shell.run(*said), shell.run(*said, *selector, "-o", "json")

    assert refused.exit_code == 2
    assert "--everything" in refused.stderr
    assert json.loads(done.stdout)["id"] == MUTE
    assert len(hub.sent("POST")) == 1


def test_a_mute_is_ended_by_its_id(hub: Hub, shell: Shell) -> None:
    hub.answers("DELETE", f"/mutes/{MUTE}", httpx.Response(204))

    assert shell.run("mutes", "delete", MUTE).exit_code == 0
    assert shell.run("mutes", "delete", "registry").exit_code == 2
    assert len(hub.sent("DELETE")) == 1
