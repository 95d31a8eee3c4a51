"""`stella audit`: who did what."""

from typing import Annotated

import typer

from stella_cli.client import LARGEST_PAGE, one_document, pages
from stella_cli.commands.invocation import EveryPage, Limit, Output, opened, surroundings_of
from stella_cli.entered import parse_moment
from stella_cli.naming import find_target
from stella_cli.replies import Reply
from stella_cli.tables import audit_table
from stella_contracts.audit import AuditPage


def audit(
    ctx: typer.Context,
    integration: Annotated[
        str | None, typer.Option(metavar="ID|NAME", help="A deleted one by its id.")
    ] = None,
    actor: Annotated[str | None, typer.Option()] = None,
    action: Annotated[str | None, typer.Option(help="Such as integration.updated.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="2026-11-24T08:00Z, or 30m, 2h, 7d ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN")] = None,
    limit: Limit = None,
    every_page: EveryPage = False,
    output: Output = None,
) -> None:
    """Show the audit log, newest first."""
    now = surroundings_of(ctx).now()
    begin = parse_moment(since, now=now) if since is not None else None
    end = parse_moment(until, now=now) if until is not None else None
    with opened(ctx, output) as (client, screen):
        target = find_target(client, integration) if integration is not None else None

        def fetch(cursor: str | None) -> Reply[AuditPage]:
            return client.list_audit_entries(
                integration_id=target.id if target else None,
                actor=actor,
                action=action,
                since=begin,
                until=end,
                limit=limit or (LARGEST_PAGE if every_page else None),
                cursor=cursor,
            )

        read = list(pages(fetch)) if every_page else [fetch(None)]
        rows = [row for page in read for row in page.value.items]
        screen.show(one_document(read), audit_table(rows))
        if read[-1].value.next_cursor:
            screen.note("There are more: --all shows every one.")
