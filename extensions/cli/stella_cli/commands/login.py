"""`stella login|logout`: keep a server and a token for later calls."""

import sys
from typing import Annotated

import typer

from stella_cli.client import Client
from stella_cli.commands.invocation import screen_of, surroundings_of
from stella_cli.failures import Refused
from stella_cli.session import Session, forget_session, parse_token, parse_url, save_session
from stella_cli.surroundings import Surroundings

LONGEST_TOKEN = 16 * 1024
_LOOPBACK = ("http://127.", "http://localhost", "http://[::1]")


def login(
    ctx: typer.Context,
    url: Annotated[str | None, typer.Option(help="Else STELLA_URL.", show_default=False)] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="-", help="- reads it from standard input; else STELLA_TOKEN or ask."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Else STELLA_TENANT.")] = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Get a token from the issuer of an embedded system.")
    ] = False,
    scope: Annotated[str | None, typer.Option(help="With --dev; by default everything.")] = None,
) -> None:
    """
    Keep a server and a token, in a file that only you can read.

    The token is tried first, and never taken from the command line, which others can see.
    """
    surroundings = surroundings_of(ctx)
    screen = screen_of(ctx)
    server = parse_url(url or _variable(surroundings, "STELLA_URL", "--url"))
    tenant = tenant or surroundings.environment.get("STELLA_TENANT")
    if server.startswith("http://") and not server.startswith(_LOOPBACK):
        screen.note("Warning: over http:// the token can be read on its way. Use https://.")
    if dev:
        if token:
            raise Refused("--dev gets a token, so --token cannot be given.")
        if not tenant:
            raise Refused("Which tenant? Add --tenant.")
        with Client(server, None, transport=surroundings.transport) as client:
            secret = client.get_development_token(tenant=tenant, scope=scope)
    else:
        secret = _given_token(surroundings, token)
    session = Session(server, parse_token(secret), tenant)
    with Client(server, session.token, transport=surroundings.transport) as client:
        client.try_token()
    path = save_session(surroundings.environment, session)
    screen.say(f"Logged in to {server}. Kept in {path}.")


def logout(ctx: typer.Context) -> None:
    """Forget the server and the token. The token itself stays good until it expires."""
    there_was_one = forget_session(surroundings_of(ctx).environment)
    screen_of(ctx).say("Logged out." if there_was_one else "You were not logged in.")


def _given_token(surroundings: Surroundings, option: str | None) -> str:
    if option == "-":
        return sys.stdin.read(LONGEST_TOKEN + 1)
    if option is not None:
        raise Refused(
            "Others can read a command line. Use `--token -` with the token on standard input,"
            " STELLA_TOKEN, or let yourself be asked."
        )
    found = surroundings.environment.get("STELLA_TOKEN")
    if found:
        return found
    if not sys.stdin.isatty():
        raise Refused("No token. Pipe it in with `--token -`, or set STELLA_TOKEN.")
    return str(typer.prompt("Token", hide_input=True))


def _variable(surroundings: Surroundings, name: str, option: str) -> str:
    found = surroundings.environment.get(name)
    if not found:
        raise Refused(f"Which server? Add {option}, or set {name}.")
    return found
