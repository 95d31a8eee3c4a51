"""`stella audit`: who did what."""

from typing import Annotated

import typer

from stella_cli.commands.invocation import EveryPage, Limit, Output, opened, surroundings_of
from stella_cli.entered import parse_moment
from stella_cli.failures import ExitCode
from stella_cli.naming import find_target
from stella_cli.paging import show_pages
from stella_cli.replies import Reply
from stella_cli.tables import audit_table
from stella_contracts.audit import AuditPage

audit = typer.Typer(invoke_without_command=True)

Since = Annotated[
    str | None, typer.Option(metavar="WHEN", help="2026-11-24T08:00Z, or 30m, 2h, 7d ago.")
]
Until = Annotated[str | None, typer.Option(metavar="WHEN")]


@audit.callback()
def show(
    ctx: typer.Context,
    integration: Annotated[
        str | None, typer.Option(metavar="ID|NAME", help="A deleted one by its id.")
    ] = None,
    actor: Annotated[str | None, typer.Option()] = None,
    action: Annotated[str | None, typer.Option(help="Such as integration.updated.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    every_page: EveryPage = False,
    output: Output = None,
) -> None:
    """Show the audit log, newest first."""
    if ctx.invoked_subcommand is not None:
        return
    now = surroundings_of(ctx).now()
    begin = parse_moment(since, now=now) if since is not None else None
    end = parse_moment(until, now=now) if until is not None else None
    with opened(ctx, output) as (client, screen):
        target = find_target(client, integration) if integration is not None else None

        def fetch(size: int | None, cursor: str | None) -> Reply[AuditPage]:
            return client.list_audit_entries(
                integration_id=target.id if target else None,
                actor=actor,
                action=action,
                since=begin,
                until=end,
                limit=size,
                cursor=cursor,
            )

        show_pages(screen, fetch, audit_table, limit=limit, every_page=every_page)


@audit.command("export")
def export(ctx: typer.Context, since: Since = None, until: Until = None) -> None:
    """Write every entry to standard output, oldest first, one JSON document a line."""
    now = surroundings_of(ctx).now()
    begin = parse_moment(since, now=now) if since is not None else None
    end = parse_moment(until, now=now) if until is not None else None
    with (
        opened(ctx, None) as (client, _),
        client.export_audit_entries(since=begin, until=end) as lines,
    ):
        for line in lines:
            typer.echo(line)


@audit.command("verify")
def verify(ctx: typer.Context, output: Output = None) -> None:
    """Read the whole chain again. Code 3 if an entry is not as it was written."""
    with opened(ctx, output) as (client, screen):
        found = client.verify_audit_log()
        result = found.value
        screen.show(found.document)
        if result.first_broken is None:
            screen.say(f"Intact: {result.entries} entries. The last hash is {result.hash or '-'}.")
            return
        broken = result.first_broken
        screen.say(f"Broken: entry {broken.sequence} ({broken.id or '-'}) is {broken.reason}.")
        raise typer.Exit(ExitCode.UNHEALTHY)
