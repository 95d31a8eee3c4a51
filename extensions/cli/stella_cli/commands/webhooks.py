"""`stella webhooks list|create|update|delete|deliveries|replay|test`: events sent to URLs."""

from typing import Annotated
from uuid import UUID

import typer

from stella_cli.commands.invocation import EveryPage, Limit, Output, opened, surroundings_of
from stella_cli.entered import draft, named, parse_moment
from stella_cli.failures import Refused
from stella_cli.paging import show_pages
from stella_cli.replies import Reply
from stella_cli.webhook_tables import delivery_table, webhook_table
from stella_contracts.webhooks import (
    DeliveryPage,
    DeliveryState,
    ReplayRequest,
    WebhookCreate,
    WebhookPage,
    WebhookUpdate,
)

webhooks = typer.Typer(no_args_is_help=True, help="Have events sent to a URL, signed.")

WebhookId = Annotated[UUID, typer.Argument(metavar="ID", show_default=False)]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Such as integration.alert, also more than once; all without it."),
]
Description = Annotated[str | None, typer.Option()]


@webhooks.command("list")
def list_webhooks(
    ctx: typer.Context,
    limit: Limit = None,
    every_page: EveryPage = False,
    output: Output = None,
) -> None:
    """List the webhooks, with how they do."""
    with opened(ctx, output) as (client, screen):

        def fetch(size: int | None, cursor: str | None) -> Reply[WebhookPage]:
            return client.list_webhooks(limit=size, cursor=cursor)

        show_pages(screen, fetch, webhook_table, limit=limit, every_page=every_page)


@webhooks.command("create")
def create_webhook(
    ctx: typer.Context,
    url: Annotated[str, typer.Option()],
    auth_ref: Annotated[
        str, typer.Option(help="Where the signing key is, such as authref://vault/hooks#key.")
    ],
    types: Types = None,
    description: Description = None,
    output: Output = None,
) -> None:
    """Have events sent to a URL from now on, signed as Standard Webhooks says."""
    fields = named(url=url, auth_ref_uri=auth_ref, event_types=types, description=description)
    new = draft(WebhookCreate, fields)
    with opened(ctx, output) as (client, screen):
        made = client.create_webhook(new)
        screen.show(made.document, webhook_table([made.value]))


@webhooks.command("update")
def update_webhook(
    ctx: typer.Context,
    webhook: WebhookId,
    url: Annotated[str | None, typer.Option()] = None,
    auth_ref: Annotated[str | None, typer.Option()] = None,
    types: Types = None,
    description: Description = None,
    enabled: Annotated[bool | None, typer.Option("--enabled/--disabled")] = None,
    output: Output = None,
) -> None:
    """Change a webhook; what is not named stays as it is. --enabled also ends our disabling."""
    fields = named(
        url=url,
        auth_ref_uri=auth_ref,
        event_types=types,
        description=description,
        enabled=enabled,
    )
    if not fields:
        raise Refused("Nothing to change. Say what to, such as --enabled.")
    change = draft(WebhookUpdate, fields)
    with opened(ctx, output) as (client, screen):
        changed = client.update_webhook(webhook, change)
        screen.show(changed.document, webhook_table([changed.value]))


@webhooks.command("delete")
def delete_webhook(ctx: typer.Context, webhook: WebhookId, output: Output = None) -> None:
    """Delete a webhook, what waits for it, and its log."""
    with opened(ctx, output) as (client, screen):
        client.delete_webhook(webhook)
        screen.say(f"Deleted {webhook}.")


@webhooks.command("deliveries")
def list_deliveries(
    ctx: typer.Context,
    webhook: WebhookId,
    state: Annotated[DeliveryState | None, typer.Option()] = None,
    limit: Limit = None,
    every_page: EveryPage = False,
    output: Output = None,
) -> None:
    """Show what was sent, newest first, and when what failed is tried next."""
    with opened(ctx, output) as (client, screen):

        def fetch(size: int | None, cursor: str | None) -> Reply[DeliveryPage]:
            return client.list_deliveries(
                webhook,
                state=state,
                limit=size,
                cursor=cursor,
            )

        show_pages(screen, fetch, delivery_table, limit=limit, every_page=every_page)


@webhooks.command("replay")
def replay(
    ctx: typer.Context,
    webhook: WebhookId,
    delivery: Annotated[
        UUID | None, typer.Argument(metavar="[DELIVERY]", show_default=False)
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="2026-11-24T08:00Z, or 30m, 2h, 7d ago.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="With --since, also what was delivered.")
    ] = False,
    output: Output = None,
) -> None:
    """Send one delivery again, or with --since those that failed since a moment."""
    if (delivery is None) == (since is None):
        raise Refused("Name a delivery, or say since when: --since 2h.")
    with opened(ctx, output) as (client, screen):
        if delivery is not None:
            again = client.replay_delivery(webhook, delivery)
            screen.show(again.document, delivery_table([again.value]))
            return
        begin = parse_moment(str(since), now=surroundings_of(ctx).now())
        which = ReplayRequest(since=begin, only_failed=not everything)
        asked = client.replay_deliveries(webhook, which)
        screen.show(asked.document)
        screen.say(f"Sending {asked.value.replayed} again.")
        if asked.value.more:
            screen.note("There are more: once these are sent, ask again.")


@webhooks.command("test")
def send_test(ctx: typer.Context, webhook: WebhookId, output: Output = None) -> None:
    """Send an event that says nothing. `deliveries` tells how it went."""
    with opened(ctx, output) as (client, screen):
        queued = client.test_webhook(webhook)
        screen.show(queued.document, delivery_table([queued.value]))
