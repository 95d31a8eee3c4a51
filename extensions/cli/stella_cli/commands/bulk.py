"""`stella integrations export|import`: the catalog as lines of JSON."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from stella_cli.commands.invocation import Output, opened
from stella_cli.failures import ExitCode, Refused
from stella_cli.tables import import_table
from stella_contracts.bulk import ImportResult

PART_LINES = 500
PART_BYTES = 2 * 1024 * 1024
LARGEST_LINE = 1024 * 1024


def export_integrations(
    ctx: typer.Context,
    provider_type: Annotated[str | None, typer.Option("--type")] = None,
    tag: Annotated[str | None, typer.Option()] = None,
) -> None:
    """Write every integration to standard output, one JSON document a line."""
    with (
        opened(ctx, None) as (client, _),
        client.export_integrations(provider_type=provider_type, tag=tag) as lines,
    ):
        for line in lines:
            typer.echo(line)


def import_integrations(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="What export has written; -: standard input.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Store nothing.")] = False,
    output: Output = None,
) -> None:
    """
    Register integrations, or make those of the same name the same. Shows what failed.

    Ends with code 2 if a line failed. The others are stored; all of it may be sent again.
    """
    documents: list[Any] = []
    results: list[ImportResult] = []
    with opened(ctx, output) as (client, screen):
        for skipped, part in _parts(file):
            reply = client.import_integrations(part, dry_run=dry_run)
            for line in reply.document["lines"]:
                # Numbers of the file, not of the part of it.
                line["line"] += skipped
            documents.append(reply.document)
            results.append(ImportResult.model_validate(reply.document))
        names = ("created", "updated", "unchanged", "failed")
        totals = {name: sum(getattr(each, name) for each in results) for name in names}
        every_line = [line for each in documents for line in each["lines"]]
        failed = [line for each in results for line in each.lines if line.outcome == "failed"]
        tables = [import_table(failed)] if failed else []
        screen.show({"dryRun": dry_run, **totals, "lines": every_line}, *tables)
        screen.say(", ".join(f"{count} {name}" for name, count in totals.items()))
        if failed:
            raise typer.Exit(ExitCode.REFUSED)


def _parts(file: str) -> Iterator[tuple[int, bytes]]:
    """Parts that one request may carry, with the lines before them. Raises Refused."""
    skipped, count, part = 0, 0, b""
    for line in _lines_of(file):
        if count == PART_LINES or len(part) + len(line) > PART_BYTES:
            yield skipped, part
            skipped, count, part = skipped + count, 0, b""
        part += line
        count += 1
    if part.strip():
        yield skipped, part


def _lines_of(file: str) -> Iterator[bytes]:
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as opened_file:
            while line := opened_file.readline(LARGEST_LINE + 1):
                if len(line) > LARGEST_LINE:
                    raise Refused(f"A line of {file} has more than {LARGEST_LINE} bytes.")
                yield line
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}.") from None
