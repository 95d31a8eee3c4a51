"""Command groups as another distribution would bring them."""

import typer

from stella_contracts.errors import DatabaseUnavailable, PluginNotFound

working = typer.Typer(help="Another's commands.")
no_app = "not a typer app"


@working.command()
def greet() -> None:
    typer.echo("Hello")


@working.command()
def away() -> None:
    raise DatabaseUnavailable


@working.command()
def missing() -> None:
    raise PluginNotFound("x")
