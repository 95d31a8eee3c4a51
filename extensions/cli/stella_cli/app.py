"""Builds the `stella` command from its parts and from the groups that others install."""

from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from stella_cli.commands.audit import audit
from stella_cli.commands.events import events
from stella_cli.commands.integrations import integrations
from stella_cli.commands.invocation import Output, screen_of, surroundings_of
from stella_cli.commands.login import login, logout
from stella_cli.commands.mutes import mutes
from stella_cli.commands.plugins import plugins
from stella_cli.commands.webhooks import webhooks
from stella_cli.failures import ExitCode, Failure
from stella_contracts.errors import StellaError, Unavailable


class StellaGroup(TyperGroup):
    """The root: ends failures with a sentence and a code, and finds groups when asked for."""

    # typer keeps its own copy of click private, so its context and command have no public type.
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Failure as failure:
            screen_of(ctx).show_failure(failure)
            raise typer.Exit(failure.exit_code) from None
        except StellaError as error:  # of another distribution's command
            screen_of(ctx).note(f"Error: {error}")
            unavailable = isinstance(error, Unavailable)
            raise typer.Exit(ExitCode.FAILED if unavailable else ExitCode.REFUSED) from None

    def list_commands(self, ctx: Any) -> list[str]:
        others = [each.name for each in surroundings_of(ctx).groups]
        return list(dict.fromkeys([*super().list_commands(ctx), *others]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Ours first. Another's is imported here, so that it costs nothing until it is used."""
        if cmd_name not in self.commands:
            for each in surroundings_of(ctx).groups:
                if each.name == cmd_name:
                    self._load(ctx, each)
        return super().get_command(ctx, cmd_name)

    def _load(self, ctx: Any, group: Any) -> None:
        try:
            # Inside another app its name is set, and it offers no completion of its own.
            outer = typer.Typer()
            outer.add_typer(group.load(), name=group.name)
            self.add_command(get_group(outer).commands[group.name], group.name)
        except Exception as error:  # noqa: BLE001 - whatever another distribution raises
            reason = f"{type(error).__name__}: {error}"
            screen_of(ctx).note(f"Warning: the command group {group.name} is broken: {reason}")


def build_app() -> typer.Typer:
    """The whole command. Give it a Surroundings as `obj` to run it elsewhere than here."""
    app = typer.Typer(
        cls=StellaGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Know every connection to external tools, and whether it works.",
        epilog=(
            "Codes: 0 done, 1 the server or the network failed, 2 wrong usage or refused input,"
            " 3 unhealthy, 4 not in time."
        ),
    )
    app.callback()(_root)
    app.command()(login)
    app.command()(logout)
    app.add_typer(integrations, name="integrations")
    app.add_typer(plugins, name="plugins")
    app.add_typer(mutes, name="mutes")
    app.add_typer(webhooks, name="webhooks")
    app.add_typer(audit, name="audit")
    app.command()(events)
    return app


def _show_version(given: bool) -> None:
    if given:
        typer.echo(f"stella {version('stella-cli')}")
        raise typer.Exit


def _root(
    output: Output = None,
    show_version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version."),
    ] = False,
) -> None:
    pass
