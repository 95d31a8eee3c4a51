"""`stella integrations list|get|create|update|delete`."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.hub import (
    MIRROR,
    REGISTRY,
    Hub,
    Shell,
    a_page,
    a_problem,
    an_integration,
    ok,
)

OLD_VERSION = a_problem(412, title="Precondition failed", detail="Its version is 4.")


def test_list_shows_a_row_for_each_integration(hub: Hub, shell: Shell) -> None:
    hub.answers(
        "GET", "/integrations", a_page(an_integration(name="registry-eu", status="degraded"))
    )

    result = shell.run("integrations", "list")

    header, row = result.stdout.splitlines()
    assert header.split() == ["NAME", "TYPE", "STATUS", "TAGS", "INTERVAL", "ID"]
    assert row.split() == ["registry-eu", "harbor", "degraded", "eu", "300s", REGISTRY]


def test_list_sends_its_filters(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page())

    shell.run(
        *("integrations", "list", "--type", "harbor", "--status", "unhealthy", "--tag", "eu"),
        *("--q", "reg", "--sort", "-name", "--limit", "7"),
    )

    assert dict(hub.requests[0].url.params) == {
        "type": "harbor",
        "status": "unhealthy",
        "tag": "eu",
        "q": "reg",
        "sort": "-name",
        "limit": "7",
    }


def test_token_and_name_of_the_client_are_sent(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page())

    shell.run("integrations", "list")

    sent = hub.requests[0].headers
    assert sent["Authorization"] == "Bearer token-of-the-environment"
    assert sent["User-Agent"].startswith("stella-cli/")


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--output", "json", "integrations", "list"], id="before the command"),
        pytest.param(["integrations", "list", "--output", "json"], id="after the command"),
        pytest.param(["-o", "table", "integrations", "list", "-o", "json"], id="the last counts"),
    ],
)
def test_json_is_what_the_api_sent_unknown_fields_included(
    arguments: list[str], hub: Hub, shell: Shell
) -> None:
    document = {"items": [an_integration(fieldOfTomorrow=[1])], "nextCursor": None, "total": 1}
    hub.answers("GET", "/integrations", ok(document))

    result = shell.run(*arguments)

    assert json.loads(result.stdout) == document


def test_list_says_that_there_is_more_beside_the_result(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page(an_integration(), next_cursor="second"))

    result = shell.run("integrations", "list", "-o", "json")

    assert json.loads(result.stdout)["nextCursor"] == "second"
    assert "--all" in result.stderr


def test_all_lists_every_page(hub: Hub, shell: Shell) -> None:
    first, second = an_integration(), an_integration(id=MIRROR, name="mirror")
    hub.answers("GET", "/integrations", a_page(first, next_cursor="second"), a_page(second))

    result = shell.run("integrations", "list", "--all", "--type", "harbor", "-o", "json")

    assert json.loads(result.stdout) == {"items": [first, second], "nextCursor": None}
    assert [dict(each.url.params) for each in hub.requests] == [
        {"type": "harbor", "limit": "200"},
        {"type": "harbor", "limit": "200", "cursor": "second"},
    ]


def test_all_ends_when_the_cursor_repeats(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page(an_integration(), next_cursor="same"))

    result = shell.run("integrations", "list", "--all")

    assert result.exit_code == 1
    assert "cursor repeats" in result.stderr


def test_integration_is_found_by_its_id(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", f"/integrations/{REGISTRY}", ok(an_integration(name="registry-eu")))

    result = shell.run("integrations", "get", REGISTRY)

    assert "registry-eu" in result.stdout
    assert len(hub.requests) == 1


def test_integration_is_found_by_its_exact_name_on_a_later_page(hub: Hub, shell: Shell) -> None:
    alike = an_integration(id=MIRROR, name="registry-eu-2")
    wanted = an_integration(id=REGISTRY, name="registry-eu")
    hub.answers("GET", "/integrations", a_page(alike, next_cursor="second"), a_page(wanted))
    hub.answers("GET", f"/integrations/{REGISTRY}", ok(wanted))

    result = shell.run("integrations", "get", "registry-eu", "-o", "json")

    assert json.loads(result.stdout) == wanted
    assert hub.requests[0].url.params["q"] == "registry-eu"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["get", "nowhere"], id="get"),
        pytest.param(["update", "nowhere", "--interval", "60"], id="update"),
        pytest.param(["delete", "nowhere", "--yes"], id="delete"),
        pytest.param(["check", "nowhere"], id="check"),
        pytest.param(["health", "nowhere"], id="health"),
        pytest.param(["watch", "nowhere"], id="watch"),
    ],
)
def test_name_of_no_integration_is_refused(arguments: list[str], hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page(an_integration(name="nowhere-else")))

    result = shell.run("integrations", *arguments)

    assert result.exit_code == 2
    assert "No integration is named 'nowhere'" in result.stderr
    assert result.stdout == ""


def test_create_sends_what_was_given_and_nothing_else(hub: Hub, shell: Shell) -> None:
    hub.answers("POST", "/integrations", ok(an_integration(), 201))

    result = shell.run(
        *("integrations", "create", "--type", "harbor", "--name", "registry-eu"),
        *(
            "--config",
            "endpoint=https://harbor.test",
            "--auth-ref",
            "authref://vault/ci/harbor#robot",
        ),
        *("--tag", "eu", "--tag", "ci", "--interval", "60", "--timeout", "5", "--disabled"),
    )

    assert result.exit_code == 0, result.stderr
    assert hub.body("POST") == {
        "type": "harbor",
        "name": "registry-eu",
        "config": {"endpoint": "https://harbor.test"},
        "authRefUri": "authref://vault/ci/harbor#robot",
        "tags": ["ci", "eu"],
        "checkIntervalSeconds": 60,
        "checkTimeoutSeconds": 5,
        "enabled": False,
    }


def test_create_leaves_defaults_to_the_server(hub: Hub, shell: Shell) -> None:
    hub.answers("POST", "/integrations", ok(an_integration(), 201))

    shell.run("integrations", "create", "--type", "in-memory", "--name", "rehearsal")

    assert hub.body("POST") == {"type": "in-memory", "name": "rehearsal", "config": {}}
    assert "Idempotency-Key" not in hub.sent("POST")[0].headers


def test_create_sends_the_idempotency_key(hub: Hub, shell: Shell) -> None:
    hub.answers("POST", "/integrations", ok(an_integration(), 201))

    shell.run(
        *("integrations", "create", "--type", "harbor", "--name", "registry-eu"),
        *("--idempotency-key", "once"),
    )

    assert hub.sent("POST")[0].headers["Idempotency-Key"] == "once"


def test_config_is_read_from_a_file_with_keys_over_it(
    hub: Hub, shell: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"endpoint": "https://harbor.test", "insecure": false}')
    hub.answers("POST", "/integrations", ok(an_integration(), 201))

    shell.run(
        *("integrations", "create", "--type", "harbor", "--name", "registry-eu"),
        *("--config", f"@{file}", "--config", "insecure=true"),
    )

    assert hub.body("POST")["config"] == {"endpoint": "https://harbor.test", "insecure": True}


def test_config_is_read_from_standard_input(hub: Hub, shell: Shell) -> None:
    hub.answers("POST", "/integrations", ok(an_integration(), 201))

    shell.run(
        *("integrations", "create", "--type", "harbor", "--name", "registry-eu", "--config", "@-"),
        typed='{"endpoint": "https://harbor.test"}',
    )

    assert hub.body("POST")["config"] == {"endpoint": "https://harbor.test"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["--auth-ref", "hunter2"], "/authRefUri: ", id="a secret for a reference"),
        pytest.param(["--interval", "1"], "/checkIntervalSeconds: ", id="an interval too short"),
        pytest.param(["--tag", "no spaces"], "/tags/0: ", id="a tag that is none"),
        pytest.param(["--config", "[1]"], "--config takes", id="a config that is a list"),
        pytest.param(["--config", "{"], "is not JSON", id="a config that is broken"),
        pytest.param(["--config", '{"a": NaN}'], "is not JSON", id="a number that is not JSON"),
        pytest.param(["--config", "@no-such-file"], "cannot be read", id="a file that is missing"),
    ],
)
def test_bad_input_is_refused_before_any_call_without_repeating_it(
    arguments: list[str], told: str, hub: Hub, shell: Shell
) -> None:
    result = shell.run("integrations", "create", "--type", "harbor", "--name", "eu", *arguments)

    assert result.exit_code == 2
    assert told in result.stderr
    assert "hunter2" not in result.output
    assert hub.requests == []


def test_what_the_server_refuses_is_shown_with_its_places(hub: Hub, shell: Shell) -> None:
    hub.answers(
        "POST",
        "/integrations",
        a_problem(
            422,
            detail="The integration cannot be stored as it is. See errors.",
            errors=[{"pointer": "/config/endpoint", "detail": "It must be a URL."}],
            requestId="request-7",
        ),
    )

    result = shell.run("integrations", "create", "--type", "harbor", "--name", "eu")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "Error: Rejected (422): The integration cannot be stored as it is. See errors.",
        "  /config/endpoint: It must be a URL.",
        "  request id: request-7",
    ]


@pytest.mark.parametrize(
    ("arguments", "change"),
    [
        pytest.param(["--name", "new"], {"name": "new"}, id="name"),
        pytest.param(["--interval", "60"], {"checkIntervalSeconds": 60}, id="interval"),
        pytest.param(["--disabled"], {"enabled": False}, id="disabled"),
        pytest.param(["--enabled"], {"enabled": True}, id="enabled"),
        pytest.param(["--tag", "us"], {"tags": ["us"]}, id="tags replaced"),
        pytest.param(["--no-tags"], {"tags": []}, id="tags removed"),
        pytest.param(["--no-auth-ref"], {"authRefUri": None}, id="reference removed"),
        pytest.param(
            ["--config", "insecure=true"],
            {"config": {"endpoint": "https://harbor.test", "insecure": True}},
            id="one key of the config",
        ),
        pytest.param(
            ["--config", '{"endpoint": "https://other.test"}'],
            {"config": {"endpoint": "https://other.test"}},
            id="the whole config",
        ),
    ],
)
def test_update_sends_only_what_changes(
    arguments: list[str], change: dict[str, Any], hub: Hub, shell: Shell
) -> None:
    path = f"/integrations/{REGISTRY}"
    current = an_integration(config={"endpoint": "https://harbor.test", "insecure": False})
    hub.answers("GET", path, ok(current))
    hub.answers("PUT", path, ok(current))

    result = shell.run("integrations", "update", REGISTRY, *arguments)

    assert result.exit_code == 0, result.stderr
    assert hub.body("PUT") == change


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        pytest.param([], '"3"', id="the version that was read"),
        pytest.param(["--if-match", "2"], '"2"', id="a version that was given"),
        pytest.param(["--if-match", '"2"'], '"2"', id="an etag that was given"),
        pytest.param(["--if-match", "*"], "*", id="any version"),
    ],
)
def test_update_says_which_version_it_changes(
    arguments: list[str], sent: str, hub: Hub, shell: Shell
) -> None:
    path = f"/integrations/{REGISTRY}"
    hub.answers("GET", path, ok(an_integration(version=3)))
    hub.answers("PUT", path, ok(an_integration(version=4)))

    shell.run("integrations", "update", REGISTRY, "--name", "new", *arguments)

    assert hub.sent("PUT")[0].headers["If-Match"] == sent


def test_lost_race_is_reported(hub: Hub, shell: Shell) -> None:
    path = f"/integrations/{REGISTRY}"
    hub.answers("GET", path, ok(an_integration()))
    hub.answers("PUT", path, OLD_VERSION)

    result = shell.run("integrations", "update", REGISTRY, "--name", "new")

    assert result.exit_code == 2
    assert "Its version is 4." in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="nothing to change"),
        pytest.param(["--no-tags", "--tag", "eu"], id="tags set and removed"),
        pytest.param(["--if-match", "yesterday", "--name", "new"], id="a version that is none"),
        pytest.param(["--interval", "1"], id="an interval too short"),
    ],
)
def test_update_that_makes_no_sense_is_refused_before_any_call(
    arguments: list[str], hub: Hub, shell: Shell
) -> None:
    result = shell.run("integrations", "update", REGISTRY, *arguments)

    assert result.exit_code == 2
    assert hub.requests == []


def test_delete_needs_a_yes_where_nobody_can_be_asked(hub: Hub, shell: Shell) -> None:
    result = shell.run("integrations", "delete", REGISTRY)

    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert hub.sent("DELETE") == []


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        pytest.param([], None, id="whatever the version"),
        pytest.param(["--if-match", "3"], '"3"', id="that version only"),
    ],
)
def test_delete_deletes(arguments: list[str], sent: str | None, hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page(an_integration(name="registry-eu")))
    hub.answers("DELETE", f"/integrations/{REGISTRY}", ok(None, 204))

    result = shell.run("integrations", "delete", "registry-eu", "--yes", *arguments)

    assert result.stdout == "Deleted registry-eu.\n"
    assert hub.sent("DELETE")[0].headers.get("If-Match") == sent
