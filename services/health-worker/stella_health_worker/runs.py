"""A scheduled check while it is carried out."""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto

from stella_health_worker.limits import Key
from stella_runtime.egress.origins import Host, host_of
from stella_runtime.persistence.scheduling import Target

MARGIN_SECONDS = 1.0
"""Before its lease ends a check must have its result, and that must be stored."""


class Stage(Enum):
    QUEUED = auto()
    """It waits for a slot of its lane."""
    HELD_UP = auto()
    """It waits for its host or its tenant."""
    RUNNING = auto()
    RECORDING = auto()


@dataclass(eq=False, slots=True)
class Run:
    """A scheduled check, from its message to its record."""

    target: Target
    lane: asyncio.Semaphore
    start_by: float
    """Later it would outlive its lease."""
    host: Host | None
    keys: tuple[Key, ...] = ()
    """By which it is counted."""
    stage: Stage = Stage.QUEUED
    started: float = 0.0


def begun(target: Target, lane: asyncio.Semaphore, now: float) -> Run:
    start_by = now + target.lease_seconds - target.timeout_seconds - MARGIN_SECONDS
    return Run(target, lane, start_by, host_of(target.config))
