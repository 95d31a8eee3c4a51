"""`stella integrations list|get|create|update|delete`: the catalog."""

import sys
from typing import Annotated

import typer

from stella_cli.commands.bulk import export_integrations, import_integrations
from stella_cli.commands.checks import check, check_draft
from stella_cli.commands.invocation import (
    AuthRefOption,
    ConfigOption,
    EveryPage,
    Limit,
    Named,
    Output,
    ProviderType,
    opened,
)
from stella_cli.commands.past import health, transitions
from stella_cli.commands.watch import watch
from stella_cli.entered import draft, named, parse_config, parse_version
from stella_cli.failures import Refused
from stella_cli.naming import find_target
from stella_cli.paging import show_pages
from stella_cli.replies import Reply
from stella_cli.tables import integration_fields, integration_table
from stella_contracts.health import IntegrationStatus
from stella_contracts.integrations import IntegrationCreate, IntegrationPage, IntegrationUpdate

integrations = typer.Typer(
    no_args_is_help=True, help="Register integrations, and see whether they work."
)
integrations.command()(check)
integrations.command("test")(check_draft)
integrations.command("export")(export_integrations)
integrations.command("import")(import_integrations)
integrations.command()(health)
integrations.command()(transitions)
integrations.command()(watch)

TagOption = Annotated[list[str], typer.Option("--tag", show_default=False, help="May be repeated.")]
Description = Annotated[str | None, typer.Option()]
Interval = Annotated[int | None, typer.Option(help="Seconds between checks.")]
Timeout = Annotated[int | None, typer.Option(help="Seconds that a check may take.")]
FailureThreshold = Annotated[int | None, typer.Option(help="Failures in a row to unhealthy.")]
SuccessThreshold = Annotated[int | None, typer.Option(help="Successes in a row back to healthy.")]
IfMatch = Annotated[
    str | None,
    typer.Option(metavar="VERSION", help="Refuse if the version is another one; * takes any."),
]


@integrations.command("list")
def list_integrations(
    ctx: typer.Context,
    provider_type: Annotated[str | None, typer.Option("--type")] = None,
    status: Annotated[IntegrationStatus | None, typer.Option()] = None,
    tag: Annotated[str | None, typer.Option()] = None,
    q: Annotated[str | None, typer.Option("--q", help="Part of its name or description.")] = None,
    sort: Annotated[
        str | None, typer.Option(help="name, createdAt or updatedAt; - before it turns it.")
    ] = None,
    limit: Limit = None,
    every_page: EveryPage = False,
    output: Output = None,
) -> None:
    """List the tenant's integrations."""
    with opened(ctx, output) as (client, screen):

        def fetch(size: int | None, cursor: str | None) -> Reply[IntegrationPage]:
            return client.list_integrations(
                provider_type=provider_type,
                status=status,
                tag=tag,
                q=q,
                sort=sort,
                limit=size,
                cursor=cursor,
            )

        show_pages(screen, fetch, integration_table, limit=limit, every_page=every_page)


@integrations.command("get")
def get_integration(ctx: typer.Context, integration: Named, output: Output = None) -> None:
    """Show one integration."""
    with opened(ctx, output) as (client, screen):
        found = client.get_integration(find_target(client, integration).id)
        screen.show(found.document, integration_fields(found.value))


@integrations.command("create")
def create_integration(
    ctx: typer.Context,
    provider_type: ProviderType,
    name: Annotated[str, typer.Option(show_default=False)],
    config: ConfigOption = [],  # noqa: B006 - typer copies defaults
    auth_ref: AuthRefOption = None,
    tag: TagOption = [],  # noqa: B006 - typer copies defaults
    description: Description = None,
    interval: Interval = None,
    timeout: Timeout = None,
    failure_threshold: FailureThreshold = None,
    success_threshold: SuccessThreshold = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Do not check it yet.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="With the same key, trying again registers nothing twice.")
    ] = None,
    output: Output = None,
) -> None:
    """Register an integration."""
    fields = named(
        type=provider_type,
        name=name,
        description=description,
        config=parse_config(config).over({}),
        auth_ref_uri=auth_ref,
        tags=tag or None,
        enabled=False if disabled else None,
        check_interval_seconds=interval,
        check_timeout_seconds=timeout,
        failure_threshold=failure_threshold,
        success_threshold=success_threshold,
    )
    new = draft(IntegrationCreate, fields)
    with opened(ctx, output) as (client, screen):
        created = client.create_integration(new, idempotency_key=idempotency_key)
        screen.show(created.document, integration_fields(created.value))


@integrations.command("update")
def update_integration(
    ctx: typer.Context,
    integration: Named,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    config: ConfigOption = [],  # noqa: B006 - typer copies defaults
    auth_ref: AuthRefOption = None,
    no_auth_ref: Annotated[
        bool, typer.Option("--no-auth-ref", help="Remove the reference.")
    ] = False,
    tag: TagOption = [],  # noqa: B006 - typer copies defaults
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Remove the tags.")] = False,
    description: Description = None,
    interval: Interval = None,
    timeout: Timeout = None,
    failure_threshold: FailureThreshold = None,
    success_threshold: SuccessThreshold = None,
    enabled: Annotated[bool | None, typer.Option("--enabled/--disabled")] = None,
    if_match: IfMatch = None,
    output: Output = None,
) -> None:
    """
    Change an integration; what is not named stays as it is.

    KEY=VALUE changes that key of the config, a JSON object or @FILE replaces it all; --tag
    replaces the tags. Who was faster wins: the change is refused if somebody else changed the
    integration meanwhile.
    """
    if (no_auth_ref and auth_ref) or (no_tags and tag):
        raise Refused("Set it or remove it: --auth-ref or --no-auth-ref, --tag or --no-tags.")
    fields = named(
        name=name,
        description=description,
        auth_ref_uri=auth_ref,
        tags=[] if no_tags else tag or None,
        enabled=enabled,
        check_interval_seconds=interval,
        check_timeout_seconds=timeout,
        failure_threshold=failure_threshold,
        success_threshold=success_threshold,
    )
    if no_auth_ref:
        fields["auth_ref_uri"] = None
    if not fields and not config:
        raise Refused("Nothing to change. Say what to, such as --interval 60.")
    typed = parse_config(config)
    version = parse_version(if_match) if if_match is not None else None
    draft(IntegrationUpdate, fields)  # what is wrong already needs no call
    with opened(ctx, output) as (client, screen):
        target = find_target(client, integration)
        current = client.get_integration(target.id).value
        if config:
            fields["config"] = typed.over(current.config)
        changed = client.update_integration(
            target.id, draft(IntegrationUpdate, fields), version=version or str(current.version)
        )
        screen.show(changed.document, integration_fields(changed.value))


@integrations.command("delete")
def delete_integration(
    ctx: typer.Context,
    integration: Named,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    if_match: IfMatch = None,
    output: Output = None,
) -> None:
    """Delete an integration. Its history stays until retention ends it."""
    version = parse_version(if_match) if if_match is not None else None
    with opened(ctx, output) as (client, screen):
        target = find_target(client, integration)
        if not yes:
            _make_sure(target.name)
        client.delete_integration(target.id, version=version)
        screen.say(f"Deleted {target.name}.")


def _make_sure(name: str) -> None:
    if not sys.stdin.isatty():
        raise Refused("Nobody is there to ask. Add --yes to delete it.")
    typer.confirm(f"Delete {name}?", abort=True)
