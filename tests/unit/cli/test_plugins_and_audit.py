"""`stella plugins list|show|discover` and `stella audit`."""

import json

import httpx
import pytest
from tests.unit.cli.hub import (
    REGISTRY,
    Hub,
    Shell,
    a_page,
    a_plugin,
    an_entry,
    an_integration,
    ok,
)

SCAN = "01980000-0000-7000-8000-00000000e001"
SUMMARY = {
    "scanId": SCAN,
    "found": 3,
    "registered": ["harbor"],
    "updated": [],
    "removed": [],
    "failed": ["broken"],
}


def test_plugins_are_listed_the_broken_ones_with_the_reason(hub: Hub, shell: Shell) -> None:
    broken = a_plugin(type=None, name="broken", version=None, state="error", lastError="no id")
    hub.answers("GET", "/plugins", ok({"items": [a_plugin(), broken]}))

    result = shell.run("plugins", "list")

    _, first, second = result.stdout.splitlines()
    assert first.split() == ["harbor", "Harbor", "1.0.0", "ready", "built_in", "health", "-"]
    assert second.split() == ["-", "broken", "-", "error", "built_in", "health", "no", "id"]


def test_plugin_is_shown_with_what_its_config_may_hold(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/plugins/harbor", ok(a_plugin()))

    result = shell.run("plugins", "show", "harbor")

    assert result.stdout.splitlines()[-1].split() == [
        *("endpoint", "string", "yes"),
        *("The", "root", "URL."),
    ]


def test_type_cannot_lead_to_another_path(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/plugins/../integrations", ok(a_plugin()))

    shell.run("plugins", "show", "../integrations")

    assert hub.requests[0].url.raw_path == b"/api/v1/plugins/..%2Fintegrations"


def test_scan_is_awaited_and_told(hub: Hub, shell: Shell) -> None:
    hub.answers("POST", "/plugins/discover", ok(SUMMARY))

    result = shell.run("plugins", "discover", "--wait", "10")

    told = [line.split() for line in result.stdout.splitlines()]
    assert ["registered", "harbor"] in told
    assert ["failed", "broken"] in told
    assert hub.requests[0].headers["Prefer"] == "wait=10"


@pytest.mark.parametrize(
    ("wait", "code"),
    [pytest.param("5", 4, id="waited for"), pytest.param("0", 0, id="not waited for")],
)
def test_scan_that_is_only_accepted(wait: str, code: int, hub: Hub, shell: Shell) -> None:
    hub.answers("POST", "/plugins/discover", ok({"scanId": SCAN}, 202))

    result = shell.run("plugins", "discover", "--wait", wait, "-o", "json")

    assert result.exit_code == code
    assert json.loads(result.stdout) == {"scanId": SCAN}


def test_audit_shows_who_did_what(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/audit-logs", a_page(an_entry(actor="alice", outcome="success")))

    result = shell.run("audit")

    assert result.stdout.splitlines()[1].split(maxsplit=6) == [
        *("2026-11-24", "11:00:00Z", "alice", "integration.updated", "success", REGISTRY),
        '{"changed": ["config.endpoint"]}',
    ]


def test_audit_sends_its_filters(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page(an_integration(name="registry-eu")))
    hub.answers("GET", "/audit-logs", a_page())

    shell.run(
        *("audit", "--integration", "registry-eu", "--actor", "alice", "--limit", "9"),
        *("--action", "integration.updated", "--since", "2h", "--until", "2026-11-24T11:30Z"),
    )

    assert dict(hub.requests[-1].url.params) == {
        "integrationId": REGISTRY,
        "actor": "alice",
        "action": "integration.updated",
        "from": "2026-11-24T10:00:00+00:00",
        "to": "2026-11-24T11:30:00+00:00",
        "limit": "9",
    }


@pytest.mark.parametrize("when", ["yesterday", "2026-13-01", "999999d", ""])
def test_moment_that_is_none_is_refused(when: str, hub: Hub, shell: Shell) -> None:
    result = shell.run("audit", "--since", when)

    assert result.exit_code == 2
    assert "A moment is written like" in result.stderr
    assert hub.requests == []


def test_all_of_the_audit_log_is_read_page_by_page(hub: Hub, shell: Shell) -> None:
    first, second = an_entry(actor="alice"), an_entry(actor="bob")
    hub.answers("GET", "/audit-logs", a_page(first, next_cursor="second"), a_page(second))

    result = shell.run("audit", "--all", "-o", "json")

    assert json.loads(result.stdout)["items"] == [first, second]


def test_audit_is_exported_line_by_line(hub: Hub, shell: Shell) -> None:
    lines = '{"sequence":1}\n{"sequence":2}\n'
    hub.answers("GET", "/audit-logs/export", httpx.Response(200, text=lines))

    result = shell.run("audit", "export", "--since", "2h")

    assert result.stdout == lines
    assert dict(hub.requests[-1].url.params) == {"from": "2026-11-24T10:00:00+00:00"}


@pytest.mark.parametrize(
    ("broken", "code", "said"),
    [
        pytest.param(None, 0, "Intact: 7 entries. The last hash is ab.", id="intact"),
        pytest.param(
            {"sequence": 8, "id": None, "reason": "missing"},
            3,
            "Broken: entry 8 (-) is missing.",
            id="broken",
        ),
    ],
)
def test_audit_log_is_verified(
    broken: dict[str, object] | None, code: int, said: str, hub: Hub, shell: Shell
) -> None:
    found = {"intact": broken is None, "entries": 7, "sequence": 7, "hash": "ab"}
    hub.answers("GET", "/audit-logs/verify", ok(found | {"firstBroken": broken}))

    result = shell.run("audit", "verify")

    assert (result.exit_code, result.stdout) == (code, f"{said}\n")
