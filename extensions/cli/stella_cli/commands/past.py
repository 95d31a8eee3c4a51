"""`stella integrations health|transitions`: how it is, and how it was."""

from enum import StrEnum
from typing import Annotated

import typer

from stella_cli.commands.invocation import (
    EveryPage,
    Limit,
    Named,
    Output,
    opened,
    surroundings_of,
)
from stella_cli.entered import parse_moment
from stella_cli.failures import ExitCode
from stella_cli.history_tables import rollup_table, transition_table
from stella_cli.naming import find_target
from stella_cli.paging import show_pages
from stella_cli.replies import Reply
from stella_cli.tables import health_fields, history_table
from stella_contracts.health import FinishedCheck, IntegrationStatus, Rollup, TransitionPage


class Resolution(StrEnum):
    """What one line of the history stands for."""

    RAW = "raw"
    HOUR = "hour"
    DAY = "day"


Since = Annotated[
    str | None, typer.Option(metavar="WHEN", help="2026-11-24T08:00Z, or 30m, 2h, 7d ago.")
]
Until = Annotated[str | None, typer.Option(metavar="WHEN")]


def health(
    ctx: typer.Context,
    integration: Named,
    resolution: Annotated[
        Resolution, typer.Option(help="Each check, or what those of an hour or UTC day found.")
    ] = Resolution.RAW,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    output: Output = None,
) -> None:
    """Show how an integration is and was. Ends with code 3 when it is unhealthy."""
    now = surroundings_of(ctx).now()
    with opened(ctx, output) as (client, screen):
        target = find_target(client, integration)
        found = client.get_health(
            target.id,
            resolution=resolution,
            since=parse_moment(since, now=now) if since is not None else None,
            until=parse_moment(until, now=now) if until is not None else None,
            limit=limit,
        )
        items = found.value.history.items
        checks = [each for each in items if isinstance(each, FinishedCheck)]
        rollups = [each for each in items if isinstance(each, Rollup)]
        table = history_table(checks) if resolution is Resolution.RAW else rollup_table(rollups)
        screen.show(found.document, health_fields(target.name, found.value), table)
        if found.value.status is IntegrationStatus.UNHEALTHY:
            raise typer.Exit(ExitCode.UNHEALTHY)


def transitions(
    ctx: typer.Context,
    integration: Named,
    limit: Limit = None,
    every_page: EveryPage = False,
    output: Output = None,
) -> None:
    """Show each change of an integration's status, newest first."""
    with opened(ctx, output) as (client, screen):
        target = find_target(client, integration)

        def fetch(size: int | None, cursor: str | None) -> Reply[TransitionPage]:
            return client.list_transitions(target.id, limit=size, cursor=cursor)

        show_pages(screen, fetch, transition_table, limit=limit, every_page=every_page)
