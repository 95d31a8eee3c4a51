"""What a run of the CLI takes from outside: environment, network, time, other command groups."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, entry_points

import httpx

COMMAND_GROUP = "stella.commands"
"""Entry points by which another distribution adds a command group: name = typer app."""


def _now() -> datetime:
    return datetime.now(UTC)


def _installed_groups() -> Sequence[EntryPoint]:
    return sorted(entry_points(group=COMMAND_GROUP), key=lambda each: each.name)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The process's own, unless something else is given."""

    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    transport: httpx.BaseTransport | None = None
    """None is the network."""
    now: Callable[[], datetime] = _now
    clock: Callable[[], float] = time.monotonic
    """Seconds, from any start."""
    pause: Callable[[float], None] = time.sleep
    groups: Sequence[EntryPoint] = field(default_factory=_installed_groups)
