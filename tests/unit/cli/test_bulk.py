"""`stella integrations export|import`."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.unit.cli.hub import REGISTRY, Hub, Shell, ok

from stella_cli.commands.bulk import PART_LINES

FAILED = {
    "line": 2,
    "outcome": "failed",
    "id": None,
    "name": "two",
    "errorCode": "config_rejected",
    "problems": [{"pointer": "/config/endpoint", "detail": "It must be there."}],
}
CREATED = {
    "line": 1,
    "outcome": "created",
    "id": REGISTRY,
    "name": "one",
    "errorCode": None,
    "problems": [],
}


def a_result(*lines: dict[str, Any]) -> httpx.Response:
    outcomes = [each["outcome"] for each in lines]
    names = ("created", "updated", "unchanged", "failed")
    counts = {name: outcomes.count(name) for name in names}
    return ok({"dryRun": False, **counts, "lines": list(lines)})


def test_integrations_are_exported_line_by_line(hub: Hub, shell: Shell) -> None:
    lines = '{"name":"one"}\n{"name":"two"}\n'
    hub.answers("GET", "/integrations/export", httpx.Response(200, text=lines))

    result = shell.run("integrations", "export", "--type", "harbor")

    assert result.stdout == lines
    assert dict(hub.requests[-1].url.params) == {"type": "harbor"}


def test_what_failed_is_shown_and_ends_with_2(hub: Hub, shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "integrations.ndjson"
    file.write_text("{}\n{}\n")
    hub.answers("POST", "/integrations/import", a_result(CREATED, FAILED))

    result = shell.run("integrations", "import", str(file), "--dry-run")

    assert result.exit_code == 2
    _, row, totals = result.stdout.splitlines()
    assert row.split(maxsplit=3) == ["2", "two", "/config/endpoint", "It must be there."]
    assert totals == "1 created, 0 updated, 0 unchanged, 1 failed"
    sent = hub.requests[0]
    assert (sent.content, dict(sent.url.params)) == (b"{}\n{}\n", {"dryRun": "true"})


def test_standard_input_is_sent_in_parts_whose_lines_are_counted_through(
    hub: Hub, shell: Shell
) -> None:
    hub.answers("POST", "/integrations/import", a_result(CREATED), a_result(CREATED, FAILED))

    result = shell.run(
        *("integrations", "import", "-", "-o", "json"), typed="{}\n" * (PART_LINES + 2)
    )

    told = json.loads(result.stdout)
    assert [each.content.count(b"\n") for each in hub.requests] == [PART_LINES, 2]
    assert [each["line"] for each in told["lines"]] == [1, PART_LINES + 1, PART_LINES + 2]
    assert (told["created"], told["failed"]) == (2, 1)


@pytest.mark.parametrize("name", ["none", "."])
def test_a_file_that_cannot_be_read_is_named(name: str, hub: Hub, shell: Shell) -> None:
    result = shell.run("integrations", "import", name)

    assert (result.exit_code, hub.requests) == (2, [])
    assert f"{name} cannot be read" in result.stderr
