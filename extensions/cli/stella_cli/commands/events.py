"""`stella events`: what happened lately, or what happens from now on."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Annotated

import typer

from stella_cli.commands.invocation import Output, opened, surroundings_of
from stella_cli.entered import parse_moment
from stella_cli.event_stream import Follower
from stella_cli.naming import find_target
from stella_cli.tables import event_line

LATELY = "1h"


def events(
    ctx: typer.Context,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C, which ends with code 0.")
    ] = False,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", help="Such as integration.alert, also more than once."),
    ] = None,
    integration: Annotated[str | None, typer.Option(metavar="ID|NAME")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help=f"2026-11-24T08:00Z, or 30m, 2h ago; {LATELY}, or now with --follow.",
        ),
    ] = None,
    output: Output = None,
) -> None:
    """Show events as they happened, a line for each, and with --follow as they happen."""
    surroundings = surroundings_of(ctx)
    if since is None and not follow:
        since = LATELY
    begin = parse_moment(since, now=surroundings.now()) if since is not None else None
    try:
        with opened(ctx, output) as (client, screen):
            target = find_target(client, integration) if integration is not None else None

            def open_stream(last_id: str | None) -> AbstractContextManager[Iterator[str]]:
                return client.stream_events(
                    types=types or [],
                    integration_id=target.id if target else None,
                    since=begin if last_id is None else None,
                    follow=follow,
                    last_event_id=last_id,
                )

            follower = Follower(open_stream, pause=surroundings.pause, note=screen.note)
            for event in follower.events():
                screen.show_line(event, event_line(event))
    except KeyboardInterrupt:
        return
