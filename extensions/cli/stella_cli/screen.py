"""What the user reads: results on stdout, everything else on stderr."""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from stella_cli.failures import Failure

_UNBOUND_WIDTH = 10_000
_CONTROL = dict.fromkeys([*range(32), *range(127, 160)], "�")


class OutputFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


class Screen:
    """Prints for people or for programs. Colours only where a terminal shows them."""

    def __init__(self, output: OutputFormat) -> None:
        self.as_json = output is OutputFormat.JSON
        self._out = _console(stderr=False)
        self._err = _console(stderr=True)

    def show(self, document: Any, *tables: RenderableType) -> None:
        """The document as it came from the API, or the same for people."""
        if self.as_json:
            typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
            return
        for table in tables:
            self._print(table)

    def show_line(self, document: Any, *lines: Text) -> None:
        """Like `show`, each document on one line: for what goes on."""
        if self.as_json:
            typer.echo(json.dumps(document, ensure_ascii=False))
            return
        for line in lines:
            self._out.print(line, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """What happened, where there is no document. Not part of JSON output."""
        if not self.as_json:
            self._out.print(plain(sentence), soft_wrap=True)

    def note(self, sentence: str) -> None:
        """Something beside the result."""
        self._err.print(plain(sentence), soft_wrap=True)

    def show_failure(self, failure: Failure) -> None:
        lines = [f"Error: {failure}"]
        lines += [f"  {each.pointer or '(whole)'}: {each.detail}" for each in failure.problems]
        if failure.request_id:
            lines.append(f"  request id: {failure.request_id}")
        for line in lines:
            self.note(line)

    def _print(self, table: RenderableType) -> None:
        wraps = isinstance(table, Text)
        if self._out.is_terminal:
            self._out.print(table, soft_wrap=wraps)
            return
        with self._out.capture() as captured:
            self._out.print(table, soft_wrap=wraps)
        # Columns are padded, the last one too, which only programs would notice.
        for line in captured.get().splitlines():
            typer.echo(line.rstrip())


def plain(text: str, style: str = "") -> Text:
    """Text of others: never markup, and never a control sequence for the terminal."""
    return Text(text.translate(_CONTROL), style=style)


def joined(parts: Iterable[Text | str], separator: str = "  ") -> Text:
    texts = [plain(part) if isinstance(part, str) else part for part in parts]
    return Text(separator).join(texts)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        # A pipe has no width; 80 columns would cut what the next program looks for.
        console.width = _UNBOUND_WIDTH
    return console
