"""`stella integrations watch`: a line for whatever is new, until something is reached."""

from collections.abc import Callable
from typing import Annotated

import typer

from stella_cli.client import Client
from stella_cli.commands.invocation import Output, opened, surroundings_of
from stella_cli.failures import Late, NotThere, Refused, ServerFailed
from stella_cli.naming import Target, find_target
from stella_cli.paging import LARGEST_PAGE, pages
from stella_cli.screen import Screen
from stella_cli.surroundings import Surroundings
from stella_cli.tables import change_line, observed_check_line
from stella_cli.watching import Watch
from stella_contracts.health import IntegrationStatus

MOST_WATCHED = 100
CHECKS_PER_LOOK = 20


def watch(
    ctx: typer.Context,
    integrations: Annotated[
        list[str] | None, typer.Argument(metavar="[ID|NAME]...", show_default=False)
    ] = None,
    until: Annotated[
        IntegrationStatus | None, typer.Option(help="End with code 0 when all have this status.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="End after these seconds; with --until, code 4.")
    ] = None,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    output: Output = None,
) -> None:
    """
    Follow integrations, all of them if none is named: a line for each new check and status.

    Ctrl-C ends it, with code 0.
    """
    try:
        with opened(ctx, output) as (client, screen):
            watched = _Watched(client, screen, integrations or [])
            end = _Deadline(surroundings_of(ctx), timeout)
            while watched.look() != {until}:
                if not end.pause(interval):
                    break
            else:
                return
    except KeyboardInterrupt:
        return
    if until:
        raise Late(f"Not {until} within {timeout:g} s.")


class _Deadline:
    """The end of waiting, if there is one."""

    def __init__(self, surroundings: Surroundings, seconds: float | None) -> None:
        self._clock: Callable[[], float] = surroundings.clock
        self._pause: Callable[[float], None] = surroundings.pause
        self._at = None if seconds is None else self._clock() + seconds

    def pause(self, seconds: float) -> bool:
        """Pause, but not beyond the end. Returns False when it is reached already."""
        if self._at is not None:
            remaining = self._at - self._clock()
            if remaining <= 0:
                return False
            seconds = min(seconds, remaining)
        self._pause(seconds)
        return True


class _Watched:
    """What is followed, and the screen that hears of it."""

    def __init__(self, client: Client, screen: Screen, given: list[str]) -> None:
        self._client = client
        self._screen = screen
        self._given = [find_target(client, each) for each in given]
        self._watch = Watch()
        self._answered = False
        self._silent = False

    def look(self) -> set[IntegrationStatus]:
        """
        Tell what is new, and return the statuses; none when the server does not answer.

        A server that fails at the first look is a failure; later it is noted once, since it
        may come back.
        """
        try:
            statuses = self._statuses()
        except ServerFailed as failure:
            if not self._answered:
                raise
            if not self._silent:
                self._screen.note(f"{failure} Still watching.")
            self._silent = True
            return set()
        self._answered, self._silent = True, False
        return statuses

    def _statuses(self) -> set[IntegrationStatus]:
        if self._given:
            return {self._tell(target) for target in self._given}
        targets = self._all()
        self._watch.forget_others({target.id for target in targets})
        found: set[IntegrationStatus] = set()
        for target in targets:
            try:
                found.add(self._tell(target))
            except NotThere:  # deleted since it was listed
                continue
        return found

    def _tell(self, target: Target) -> IntegrationStatus:
        reply = self._client.get_health(target.id, limit=CHECKS_PER_LOOK)
        news = self._watch.look(reply.value)
        lines = [observed_check_line(target.name, each) for each in news.checks]
        if news.changed:
            lines.append(change_line(target.name, reply.value, news.previous))
        if lines:
            self._screen.show_line(reply.document, *lines)
        return reply.value.status

    def _all(self) -> list[Target]:
        found: list[Target] = []
        for page in pages(
            lambda cursor: self._client.list_integrations(limit=LARGEST_PAGE, cursor=cursor)
        ):
            found += [Target(each.id, each.name) for each in page.value.items]
            if len(found) > MOST_WATCHED:
                raise Refused(f"There are more than {MOST_WATCHED}. Name those to watch.")
        return found
