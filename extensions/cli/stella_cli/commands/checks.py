"""`stella integrations check` and `test`: does it work, and would it?"""

from typing import Annotated

import typer

from stella_cli.client import LONGEST_WAIT_SECONDS, Client
from stella_cli.commands.invocation import (
    AuthRefOption,
    ConfigOption,
    Named,
    Output,
    ProviderType,
    opened,
    surroundings_of,
)
from stella_cli.entered import draft, named, parse_config
from stella_cli.failures import ExitCode, Late
from stella_cli.naming import Target, find_target
from stella_cli.replies import Reply
from stella_cli.screen import Screen
from stella_cli.surroundings import Surroundings
from stella_cli.tables import check_line, step_table
from stella_contracts.health import (
    Check,
    CheckAccepted,
    FinishedCheck,
    FinishedDraft,
    HealthStatus,
    PendingCheck,
)
from stella_contracts.integrations import IntegrationDraft

_POLL_SECONDS = 0.5


def check(
    ctx: typer.Context,
    integration: Named,
    wait: Annotated[
        int, typer.Option(min=0, max=3600, help="Seconds to wait for the result; 0: do not.")
    ] = LONGEST_WAIT_SECONDS,
    output: Output = None,
) -> None:
    """
    Check an integration now, and show each step.

    Ends with code 3 when it is unhealthy, and with 4 when the check did not finish in time.
    """
    with opened(ctx, output) as (client, screen):
        target = find_target(client, integration)
        surroundings = surroundings_of(ctx)
        deadline = surroundings.clock() + wait
        asked = client.check_integration(target.id, wait=wait)
        if isinstance(asked.value, FinishedCheck):
            _show_result(screen, target.name, asked.document, asked.value)
            return
        if wait == 0:
            screen.show(asked.document)
            screen.say(f"Asked for check {asked.value.check_id} of {target.name}.")
            return
        ended = _await_end(client, surroundings, target, asked.value, deadline)
        if not isinstance(ended.value, FinishedCheck):
            screen.show(ended.document)
            raise Late(f"Check {ended.value.check_id} of {target.name} did not finish in time.")
        _show_result(screen, target.name, ended.document, ended.value)


def check_draft(
    ctx: typer.Context,
    provider_type: ProviderType,
    config: ConfigOption = [],  # noqa: B006 - typer copies defaults
    auth_ref: AuthRefOption = None,
    timeout: Annotated[int | None, typer.Option(help="Seconds that the check may take.")] = None,
    wait: Annotated[int, typer.Option(min=1, max=LONGEST_WAIT_SECONDS)] = LONGEST_WAIT_SECONDS,
    output: Output = None,
) -> None:
    """
    Check a connection before it is registered, and show each step. Nothing is stored.

    Ends with code 3 when it is unhealthy.
    """
    fields = named(
        type=provider_type,
        config=parse_config(config).over({}),
        auth_ref_uri=auth_ref,
        check_timeout_seconds=timeout,
    )
    with opened(ctx, output) as (client, screen):
        found = client.test_draft(draft(IntegrationDraft, fields), wait=wait)
        _show_result(screen, provider_type, found.document, found.value)


def _await_end(
    client: Client,
    surroundings: Surroundings,
    target: Target,
    accepted: CheckAccepted,
    deadline: float,
) -> Reply[Check]:
    """The check when it has ended, else as it is at the deadline."""
    while True:
        found = client.get_check(target.id, accepted.check_id)
        remaining = deadline - surroundings.clock()
        if not isinstance(found.value, PendingCheck) or remaining <= 0:
            return found
        surroundings.pause(min(_POLL_SECONDS, remaining))


def _show_result(
    screen: Screen, name: str, document: object, found: FinishedCheck | FinishedDraft
) -> None:
    screen.show(document, check_line(name, found), step_table(found.steps))
    if found.status is HealthStatus.UNHEALTHY:
        raise typer.Exit(ExitCode.UNHEALTHY)
