"""`stella mutes list|create|delete`: what no alerts are sent of for a while."""

from typing import Annotated
from uuid import UUID

import typer

from stella_cli.commands.invocation import EveryPage, Limit, Output, opened, surroundings_of
from stella_cli.entered import draft, named, parse_coming_moment
from stella_cli.failures import Refused
from stella_cli.naming import find_target
from stella_cli.paging import show_pages
from stella_cli.replies import Reply
from stella_cli.tables import mute_table
from stella_contracts.mutes import MuteCreate, MutePage

mutes = typer.Typer(
    no_args_is_help=True, help="Send no alerts for a while. Checks and history go on."
)


@mutes.command("list")
def list_mutes(
    ctx: typer.Context,
    limit: Limit = None,
    every_page: EveryPage = False,
    output: Output = None,
) -> None:
    """List the mutes that have not ended, those to come included."""
    with opened(ctx, output) as (client, screen):

        def fetch(size: int | None, cursor: str | None) -> Reply[MutePage]:
            return client.list_mutes(limit=size, cursor=cursor)

        show_pages(screen, fetch, mute_table, limit=limit, every_page=every_page)


@mutes.command()
def create(
    ctx: typer.Context,
    until: Annotated[
        str, typer.Option(metavar="WHEN", help="2026-11-24T08:00Z, or 30m, 2h, 7d from its start.")
    ],
    reason: Annotated[str, typer.Option()],
    integration: Annotated[str | None, typer.Option(metavar="ID|NAME")] = None,
    provider_type: Annotated[str | None, typer.Option("--type")] = None,
    tag: Annotated[str | None, typer.Option()] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="Without a selector, this has to be said.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="WHEN", help="A maintenance window: 30m, 2h, 7d from now."),
    ] = None,
    output: Output = None,
) -> None:
    """Mute an integration, a type, a tag, or what is all of these."""
    if not (integration or provider_type or tag or everything):
        raise Refused("Say what to mute: --integration, --type, --tag, or --everything.")
    now = surroundings_of(ctx).now()
    begin = parse_coming_moment(start, now=now) if start is not None else None
    end = parse_coming_moment(until, now=begin or now)
    with opened(ctx, output) as (client, screen):
        target = find_target(client, integration) if integration is not None else None
        given = named(
            integration_id=target.id if target else None,
            type=provider_type,
            tag=tag,
            reason=reason,
            starts_at=begin,
            ends_at=end,
        )
        reply = client.create_mute(draft(MuteCreate, given))
        screen.show(reply.document, mute_table([reply.value]))


@mutes.command()
def delete(ctx: typer.Context, mute_id: Annotated[UUID, typer.Argument(metavar="ID")]) -> None:
    """End a mute now. Outages that are still there are announced."""
    with opened(ctx, None) as (client, screen):
        client.delete_mute(mute_id)
        screen.note(f"The mute {mute_id} has ended.")
