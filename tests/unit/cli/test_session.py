"""`stella login|logout`, and which server gets which token."""

import json
import stat
from pathlib import Path

import pytest
from tests.unit.cli.hub import URL, Hub, Shell, a_page, a_problem, ok


@pytest.fixture
def stranger(hub: Hub, tmp_path: Path) -> Shell:
    """A shell that nobody has logged in from."""
    return Shell(hub, tmp_path)


def session_file(shell: Shell) -> Path:
    return shell.folder / "stella" / "session.json"


def logged_in(hub: Hub, shell: Shell, url: str = URL) -> Shell:
    hub.answers("GET", "/integrations", a_page())
    result = shell.run("login", "--url", url, "--token", "-", typed="token-of-the-login\n")
    assert result.exit_code == 0, result.stderr
    hub.requests.clear()
    return shell


def test_login_is_used_by_later_calls(hub: Hub, stranger: Shell) -> None:
    logged_in(hub, stranger)

    result = stranger.run("integrations", "list")

    assert result.exit_code == 0
    assert hub.requests[0].url.host == "hub.test"
    assert hub.requests[0].headers["Authorization"] == "Bearer token-of-the-login"


def test_login_is_kept_for_its_owner_alone(hub: Hub, stranger: Shell) -> None:
    logged_in(hub, stranger)

    assert stat.S_IMODE(session_file(stranger).stat().st_mode) == 0o600
    assert [path.name for path in session_file(stranger).parent.iterdir()] == ["session.json"]


def test_login_never_shows_the_token(hub: Hub, stranger: Shell) -> None:
    hub.answers("GET", "/integrations", a_page())

    result = stranger.run("login", "--url", URL, "--token", "-", typed="s3cret-token")

    assert "s3cret-token" not in result.output


def test_token_on_the_command_line_is_refused(hub: Hub, stranger: Shell) -> None:
    result = stranger.run("login", "--url", URL, "--token", "s3cret-token")

    assert result.exit_code == 2
    assert "s3cret-token" not in result.output
    assert not session_file(stranger).exists()


def test_token_that_the_server_rejects_is_not_kept(hub: Hub, stranger: Shell) -> None:
    hub.answers("GET", "/integrations", a_problem(401, title="Unauthenticated"))

    result = stranger.run("login", "--url", URL, "--token", "-", typed="stale")

    assert result.exit_code == 2
    assert not session_file(stranger).exists()


def test_token_without_the_scope_to_read_is_kept(hub: Hub, stranger: Shell) -> None:
    hub.answers("GET", "/integrations", a_problem(403, title="Forbidden"))

    result = stranger.run("login", "--url", URL, "--token", "-", typed="for-checks-only")

    assert result.exit_code == 0
    assert session_file(stranger).exists()


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ümlaut"])
def test_token_that_no_header_can_carry_is_refused(token: str, hub: Hub, stranger: Shell) -> None:
    result = stranger.run("login", "--url", URL, "--token", "-", typed=token)

    assert result.exit_code == 2
    assert hub.requests == []


def test_login_takes_the_token_of_the_environment(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page())

    shell.run("login")

    assert json.loads(session_file(shell).read_text())["token"] == "token-of-the-environment"


def test_login_without_a_token_is_refused_where_nobody_can_be_asked(stranger: Shell) -> None:
    result = stranger.run("login", "--url", URL)

    assert result.exit_code == 2
    assert "--token -" in result.stderr


def test_development_login_asks_the_issuer_for_a_token(hub: Hub, stranger: Shell) -> None:
    hub.answers("POST", "/oauth/token", ok({"access_token": "issued", "token_type": "Bearer"}))
    hub.answers("GET", "/integrations", a_page())

    result = stranger.run("login", "--url", URL, "--dev", "--tenant", "acme")

    assert result.exit_code == 0, result.stderr
    assert hub.requests[0].content == b"grant_type=client_credentials&tenant=acme"
    assert hub.requests[1].headers["Authorization"] == "Bearer issued"


def test_development_login_shows_why_the_issuer_refuses(hub: Hub, stranger: Shell) -> None:
    hub.answers("POST", "/oauth/token", ok({"error": "invalid_scope"}, 400))

    result = stranger.run("login", "--url", URL, "--dev", "--tenant", "acme", "--scope", "all")

    assert result.exit_code == 2
    assert "invalid_scope (400)" in result.stderr


def test_environment_goes_before_the_login(hub: Hub, stranger: Shell) -> None:
    logged_in(hub, stranger)
    stranger.variables |= {"STELLA_URL": "https://other.test", "STELLA_TOKEN": "of-the-environment"}

    stranger.run("integrations", "list")

    assert hub.requests[0].url.host == "other.test"
    assert hub.requests[0].headers["Authorization"] == "Bearer of-the-environment"


def test_token_of_a_login_is_never_sent_to_another_server(hub: Hub, stranger: Shell) -> None:
    logged_in(hub, stranger)
    stranger.variables["STELLA_URL"] = "https://other.test"

    result = stranger.run("integrations", "list")

    assert result.exit_code == 2
    assert "No token for https://other.test" in result.stderr
    assert hub.requests == []


def test_damaged_login_does_not_matter_to_who_has_variables(hub: Hub, shell: Shell) -> None:
    session_file(shell).parent.mkdir()
    session_file(shell).write_text("{")
    hub.answers("GET", "/integrations", a_page())

    result = shell.run("integrations", "list")

    assert result.exit_code == 0


@pytest.mark.parametrize("content", ["{", "[]", '{"url": 1, "token": "x"}', '{"url": "https://a"}'])
def test_damaged_login_is_named(content: str, stranger: Shell) -> None:
    session_file(stranger).parent.mkdir()
    session_file(stranger).write_text(content)

    result = stranger.run("integrations", "list")

    assert result.exit_code == 2
    assert "is damaged" in result.stderr


def test_logout_forgets_the_login(hub: Hub, stranger: Shell) -> None:
    logged_in(hub, stranger)

    result = stranger.run("logout")

    assert result.stdout == "Logged out.\n"
    assert stranger.run("integrations", "list").exit_code == 2
    assert stranger.run("logout").exit_code == 0


def test_who_is_not_logged_in_is_told_how_to(stranger: Shell) -> None:
    result = stranger.run("integrations", "list")

    assert result.exit_code == 2
    assert "stella login" in result.stderr


@pytest.mark.parametrize(
    "url", ["hub.test", "ftp://hub.test", "https://", "https://me:pw@hub.test", "https://h/?a=b"]
)
def test_url_that_names_no_server_is_refused(url: str, stranger: Shell) -> None:
    result = stranger.run("login", "--url", url, "--token", "-", typed="token")

    assert result.exit_code == 2
    assert "The URL of the server" in result.stderr


@pytest.mark.parametrize(
    ("url", "warned"),
    [("http://hub.test", True), ("http://127.0.0.1:8080", False), ("https://hub.test", False)],
)
def test_token_over_plain_http_is_warned_of(
    url: str, warned: bool, hub: Hub, stranger: Shell
) -> None:
    hub.answers("GET", "/integrations", a_page())

    result = stranger.run("login", "--url", url, "--token", "-", typed="token")

    assert ("Warning" in result.stderr) is warned


def test_server_may_live_below_a_path(hub: Hub, shell: Shell) -> None:
    shell.variables["STELLA_URL"] = "https://hub.test/stella/"
    hub.answers("GET", "/stella/api/v1/integrations", a_page())

    result = shell.run("integrations", "list")

    assert result.exit_code == 0
