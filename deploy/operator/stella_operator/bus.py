"""`stella bus dead`: what could not be handled, and what becomes of it."""

import asyncio
import getpass
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from stella_operator.trail import Trail, open_trail
from stella_runtime.messaging.dead_letters import DeadLetter, DeadLetters, Tell, open_dead_letters

bus = typer.Typer(no_args_is_help=True, help="The message bus (for operators).")
dead = typer.Typer(no_args_is_help=True, help="Messages that could not be handled.")
bus.add_typer(dead, name="dead")


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


AmqpUrl = Annotated[
    str,
    typer.Option(
        envvar="STELLA_AMQP_URL", show_default=False, help="amqp://user:password@host/vhost"
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="STELLA_DATABASE_URL",
        show_default=False,
        help="Where the audit log is. Without it, what is done is told on standard error alone.",
    ),
]
QueueName = Annotated[
    str | None,
    typer.Option("--queue", show_default=False, help="A queue, or stella.unrouted. Default: all."),
]
MessageId = Annotated[
    str | None, typer.Option("--id", show_default=False, help="Only messages of this id.")
]
Output = Annotated[Format | None, typer.Option("--output", "-o", show_default=False)]

Act = Callable[[str, Tell], Awaitable[int]]
"""Settles the messages of a queue, telling of them before, and says how many they were."""


@dead.command("list")
def list_command(
    context: typer.Context,
    amqp_url: AmqpUrl,
    queue: QueueName = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of each queue.")] = 100,
    output: Output = None,
) -> None:
    """Show dead letters, oldest first, with the reason. They stay where they are."""

    async def look() -> Sequence[DeadLetter]:
        async with open_dead_letters(amqp_url) as letters:
            found = [await letters.look(each, limit=limit) for each in letters.queues(queue)]
            return [letter for each in found for letter in each]

    found = asyncio.run(look())
    if Format(output or context.find_root().params.get("output") or Format.TABLE) is Format.JSON:
        typer.echo(json.dumps([_document(letter) for letter in found], indent=2))
    elif found:
        _show(found)
    else:
        typer.echo("There are none.")


@dead.command("replay")
def replay_command(
    amqp_url: AmqpUrl,
    database_url: DatabaseUrl = None,
    queue: QueueName = None,
    message_id: MessageId = None,
) -> None:
    """
    Send dead letters back to the queue that they came from, with their attempts forgotten.

    What is in stella.unrouted is published again as the event it is. Stopping half-way and
    running it again loses nothing.
    """

    def replaying(letters: DeadLetters) -> Act:
        return lambda each, tell: letters.replay(each, tell, message_id=message_id)

    count = asyncio.run(_settle(amqp_url, database_url, queue, "replayed", replaying))
    typer.echo(f"{count} replayed.")


@dead.command("drop")
def drop_command(
    amqp_url: AmqpUrl,
    database_url: DatabaseUrl = None,
    queue: QueueName = None,
    message_id: MessageId = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Throw dead letters away, for good."""
    if not yes:
        what = f"the messages with the id {message_id}" if message_id else "every message"
        where = f"in the dead letters of {queue}" if queue else "in every dead queue"
        typer.confirm(f"Throw away {what} {where}?", abort=True)

    def dropping(letters: DeadLetters) -> Act:
        return lambda each, tell: letters.drop(each, tell, message_id=message_id)

    count = asyncio.run(_settle(amqp_url, database_url, queue, "dropped", dropping))
    typer.echo(f"{count} dropped.")


async def _settle(
    amqp_url: str,
    database_url: str | None,
    queue: str | None,
    done: str,
    acting: Callable[[DeadLetters], Act],
) -> int:
    async with AsyncExitStack() as stack:
        letters = await stack.enter_async_context(open_dead_letters(amqp_url))
        queues = letters.queues(queue)
        trail = await stack.enter_async_context(open_trail(database_url, actor=_actor()))
        act = acting(letters)
        return sum([await act(each, _teller(trail, done)) for each in queues])


def _teller(trail: Trail, done: str) -> Tell:
    async def tell(letters: Sequence[DeadLetter]) -> None:
        await trail.leave(f"dead_letter.{done}", [_document(letter) for letter in letters])
        for letter in letters:
            typer.echo(f"{done}: {_plain(letter.queue)} {_plain(letter.id)}", err=True)

    return tell


def _actor() -> str:
    return f"operator:{getpass.getuser()}"


def _document(letter: DeadLetter) -> dict[str, Any]:
    since = letter.since.astimezone(UTC).isoformat() if letter.since else None
    return {
        "queue": letter.queue,
        "messageId": letter.id,
        "source": letter.source,
        "routingKey": letter.routing_key,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "since": since,
        "bytes": letter.bytes,
    }


def _show(letters: Sequence[DeadLetter]) -> None:
    table = Table("QUEUE", "MESSAGE", "REASON", "ATTEMPTS", "SINCE", box=None, pad_edge=False)
    for letter in letters:
        since = letter.since.astimezone(UTC) if letter.since else None
        cells = [
            letter.queue,
            letter.id,
            letter.reason,
            str(letter.attempts or "-"),
            f"{since:%Y-%m-%d %H:%M:%S}Z" if since else "-",
        ]
        table.add_row(*map(_plain, cells))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    console.print(table)


def _plain(text: str) -> str:
    """What a stranger has written, without what a terminal would obey."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
