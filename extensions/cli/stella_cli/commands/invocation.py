"""What every command begins with: its client, its screen, and the options that all share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from stella_cli.client import Client
from stella_cli.screen import OutputFormat, Screen
from stella_cli.session import find_session
from stella_cli.surroundings import Surroundings

Output = Annotated[
    OutputFormat | None,
    typer.Option(
        "--output", "-o", show_default=False, help="table (default), or json as the API sent it."
    ),
]
Named = Annotated[str, typer.Argument(metavar="ID|NAME", show_default=False)]
ConfigOption = Annotated[
    list[str],
    typer.Option(
        "--config",
        "-c",
        metavar="JSON|@FILE|KEY=VALUE",
        show_default=False,
        help="May be repeated. A VALUE that reads as JSON is JSON, any other is text.",
    ),
]
AuthRefOption = Annotated[
    str | None,
    typer.Option(
        "--auth-ref", help="Where the credential is: authref://VAULT/PATH#FIELD. Never the secret."
    ),
]
ProviderType = Annotated[
    str, typer.Option("--type", help="A connector: stella plugins list.", show_default=False)
]
Limit = Annotated[int | None, typer.Option(min=1, max=200, help="How many on a page.")]
EveryPage = Annotated[bool, typer.Option("--all", help="Every page, not only the first.")]


def surroundings_of(context: typer.Context) -> Surroundings:
    found = context.find_object(Surroundings)
    return found if found is not None else Surroundings()


def screen_of(context: typer.Context, output: OutputFormat | None = None) -> Screen:
    """The format is the command's own, else the one given before the command."""
    chosen = output or context.find_root().params.get("output") or OutputFormat.TABLE
    return Screen(OutputFormat(chosen))


@contextmanager
def opened(context: typer.Context, output: OutputFormat | None) -> Iterator[tuple[Client, Screen]]:
    """A client of the server that the user is logged in to. Raises Refused if there is none."""
    surroundings = surroundings_of(context)
    session = find_session(surroundings.environment)
    with Client(session.url, session.token, transport=surroundings.transport) as client:
        yield client, screen_of(context, output)
