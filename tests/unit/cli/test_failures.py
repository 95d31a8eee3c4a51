"""What is shown, and which code is left, when something is wrong."""

from importlib.metadata import EntryPoint

import httpx
import pytest
from tests.unit.cli.hub import Hub, Shell, a_page, a_problem, an_integration, ok


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        pytest.param(a_problem(400), 2, "(400): It cannot be.", id="malformed"),
        pytest.param(a_problem(401), 2, "Log in again (stella login)", id="no good token"),
        pytest.param(a_problem(403), 2, "(403)", id="a scope is missing"),
        pytest.param(a_problem(404), 2, "(404)", id="not there"),
        pytest.param(a_problem(409), 2, "(409)", id="a conflict"),
        pytest.param(a_problem(503), 1, "(503): It cannot be.", id="the hub's own failure"),
        pytest.param(httpx.Response(502, html="<h1>Oh</h1>"), 1, "(502)", id="a proxy's failure"),
        pytest.param(httpx.Response(200, html="<h1>Hi</h1>"), 1, "something else", id="no API"),
        pytest.param(ok({"items": [{}]}), 1, "something else", id="another API"),
        pytest.param(ok([]), 1, "something else", id="another shape"),
        pytest.param(
            httpx.Response(302, headers={"Location": "https://sso.test/"}),
            1,
            "redirects to https://sso.test/",
            id="a redirect",
        ),
        pytest.param(
            httpx.ConnectTimeout("x"), 1, "no connection in time", id="no connection in time"
        ),
        pytest.param(httpx.ReadTimeout("x"), 1, "no answer in time", id="no answer in time"),
        pytest.param(
            httpx.LocalProtocolError("Illegal header value b'Bearer s3cret'"),
            1,
            "No answer from https://hub.test",
            id="an exception that holds a secret",
        ),
        pytest.param(
            ok({"title": 1, "detail": ["x"], "errors": [1, {"pointer": 2}]}, 422),
            2,
            "HTTP 422",
            id="a problem that breaks the rules",
        ),
    ],
)
def test_failure_is_a_sentence_and_a_code(
    answer: httpx.Response | Exception, code: int, told: str, hub: Hub, shell: Shell
) -> None:
    hub.answers("GET", "/integrations", answer)

    result = shell.run("integrations", "list")

    assert result.exit_code == code
    assert told in result.stderr
    assert result.stderr.startswith("Error: ")
    assert "s3cret" not in result.output
    assert result.stdout == ""


def test_connection_is_tried_once_more_for_reading(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", httpx.ConnectError("refused"), a_page())

    result = shell.run("integrations", "list")

    assert result.exit_code == 0
    assert len(hub.requests) == 2


def test_reading_is_given_up_after_two_attempts(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", httpx.ConnectError("refused"))

    result = shell.run("integrations", "list")

    assert result.exit_code == 1
    assert len(hub.requests) == 2


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.ReadTimeout("late")])
def test_writing_is_never_tried_again(failure: Exception, hub: Hub, shell: Shell) -> None:
    hub.answers("POST", "/integrations", failure)

    result = shell.run("integrations", "create", "--type", "harbor", "--name", "registry-eu")

    assert result.exit_code == 1
    assert len(hub.requests) == 1


def test_reading_is_not_tried_again_once_it_was_sent(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", httpx.ReadTimeout("late"))

    shell.run("integrations", "list")

    assert len(hub.requests) == 1


def test_text_of_others_cannot_steer_the_terminal(hub: Hub, shell: Shell) -> None:
    name = "[red]\x1b[2J\x9b31m:smile:"
    hub.answers("GET", "/integrations", a_page(an_integration(name=name)))

    result = shell.run("integrations", "list")

    assert "\x1b" not in result.stdout
    assert "\x9b" not in result.stdout
    assert "[red]" in result.stdout
    assert ":smile:" in result.stdout


def test_long_values_are_not_cut_where_no_terminal_is(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page(an_integration(name="x" * 200)))

    result = shell.run("integrations", "list")

    assert "x" * 200 in result.stdout


def test_lines_are_not_padded_where_no_terminal_is(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page(an_integration(), an_integration(name="x" * 50)))

    result = shell.run("integrations", "list")

    assert [line for line in result.stdout.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["integrations", "list", "--status", "great"], id="a status that is none"),
        pytest.param(["integrations", "list", "--limit", "0"], id="a limit out of range"),
        pytest.param(["integrations", "create"], id="an option is missing"),
        pytest.param(["nonsense"], id="a command that is none"),
        pytest.param(["--output", "xml", "audit"], id="a format that is none"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], shell: Shell) -> None:
    result = shell.run(*arguments)

    assert result.exit_code == 2
    assert result.stdout == ""


def test_version_is_shown(shell: Shell) -> None:
    assert shell.run("--version").stdout.startswith("stella 0.")


def a_group(name: str, target: str) -> EntryPoint:
    return EntryPoint(name, f"tests.unit.cli.other_groups:{target}", "stella.commands")


def test_group_of_another_distribution_is_a_command(shell: Shell) -> None:
    shell.groups = [a_group("other", "working")]

    assert "other" in shell.run("--help").stdout
    assert shell.run("other", "greet").stdout == "Hello\n"


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        pytest.param("away", 1, "Error: The database does not answer.", id="something is away"),
        pytest.param("missing", 2, "Error: No plugin provides 'x'.", id="something is wrong"),
    ],
)
def test_error_of_another_distribution_is_a_sentence_and_a_code_by_kind(
    command: str, code: int, told: str, shell: Shell
) -> None:
    shell.groups = [a_group("other", "working")]

    result = shell.run("other", command)

    assert (result.exit_code, result.stderr.strip()) == (code, told)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("nothing_here", id="it is not there"),
        pytest.param("no_app", id="it is no app"),
    ],
)
def test_broken_group_costs_a_warning_and_not_the_cli(target: str, hub: Hub, shell: Shell) -> None:
    shell.groups = [a_group("broken", target)]
    hub.answers("GET", "/integrations", a_page())

    help_shown = shell.run("--help")

    assert help_shown.exit_code == 0
    assert help_shown.stderr.count("Warning: the command group broken is broken") == 1
    assert shell.run("integrations", "list").stderr == ""
    assert shell.run("broken").exit_code == 2


def test_group_cannot_take_the_place_of_a_command_of_ours(hub: Hub, shell: Shell) -> None:
    shell.groups = [a_group("audit", "working")]
    hub.answers("GET", "/audit-logs", a_page())

    result = shell.run("audit", "-o", "json")

    assert result.exit_code == 0
