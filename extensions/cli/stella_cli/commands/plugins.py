"""`stella plugins list|show|discover`: which connectors there are."""

from typing import Annotated

import typer

from stella_cli.client import LONGEST_WAIT_SECONDS
from stella_cli.commands.invocation import Output, opened
from stella_cli.failures import Late
from stella_cli.tables import plugin_fields, plugin_table, scan_fields, schema_table
from stella_contracts.plugins import ScanSummary

plugins = typer.Typer(no_args_is_help=True, help="The connectors that integrations use.")


@plugins.command("list")
def list_plugins(ctx: typer.Context, output: Output = None) -> None:
    """List every plugin, the broken ones with the reason."""
    with opened(ctx, output) as (client, screen):
        found = client.list_plugins()
        screen.show(found.document, plugin_table(found.value.items))


@plugins.command("show")
def show_plugin(
    ctx: typer.Context,
    provider_type: Annotated[str, typer.Argument(metavar="TYPE", show_default=False)],
    output: Output = None,
) -> None:
    """Show one plugin, and what its config may hold."""
    with opened(ctx, output) as (client, screen):
        found = client.get_plugin(provider_type)
        tables = [plugin_fields(found.value)]
        if found.value.config_schema:
            tables.append(schema_table(found.value.config_schema))
        screen.show(found.document, *tables)


@plugins.command("discover")
def discover_plugins(
    ctx: typer.Context,
    wait: Annotated[
        int, typer.Option(min=0, max=30, help="Seconds to wait for the scan; 0: do not.")
    ] = LONGEST_WAIT_SECONDS,
    output: Output = None,
) -> None:
    """Scan for plugins now. Ends with code 4 when the scan did not finish in time."""
    with opened(ctx, output) as (client, screen):
        asked = client.discover_plugins(wait=wait)
        if isinstance(asked.value, ScanSummary):
            screen.show(asked.document, scan_fields(asked.value))
            return
        screen.show(asked.document)
        if wait:
            raise Late("The scan did not finish in time. See its result: stella plugins list.")
        screen.say(f"Asked for scan {asked.value.scan_id}.")
