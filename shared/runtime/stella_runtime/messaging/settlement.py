"""
What becomes of a delivery once its handler has ended: the one place that decides it.

    the handler                     the delivery
    returns                         is done with
    raises Unavailable              is tried again, ever later; at the sixth failure it is dead
    raises anything else            is dead: it lies in `<queue>.dead`, with the reason
    is cancelled                    is handed back, to be delivered again
"""

import json
import traceback
from dataclasses import dataclass
from enum import Enum, auto

from pydantic import ValidationError

from stella_contracts.errors import StellaError, Unavailable
from stella_runtime.messaging.topology import RETRY_DELAYS

MAX_ATTEMPTS = len(RETRY_DELAYS) + 1

ATTEMPT_HEADER = "x-stella-attempt"
REASON_HEADER = "x-stella-reason"
QUEUE_HEADER = "x-stella-queue"
TRIED_HEADER = "x-stella-tried"
"""Of a dead letter: the attempts that were made."""

_LONGEST_REASON = 500
_MOST_PROBLEMS = 3


class Fate(Enum):
    """What to do with a delivery."""

    DONE = auto()
    RETRY = auto()
    DEAD = auto()
    HAND_BACK = auto()


@dataclass(frozen=True, slots=True)
class Settlement:
    """What to do with a delivery, and why."""

    fate: Fate
    reason: str = ""
    """Safe to show: it holds neither the body nor a secret."""


def settle(attempt: int, error: BaseException | None, *, cancelled: bool = False) -> Settlement:
    """Decide on a delivery by how its handler ended at this attempt, the first being 1."""
    if cancelled:
        return Settlement(Fate.HAND_BACK, "the handler was cancelled")
    if error is None:
        return Settlement(Fate.DONE)
    reason = describe(error)
    if not isinstance(error, Unavailable):
        return Settlement(Fate.DEAD, reason)
    if attempt < MAX_ATTEMPTS:
        return Settlement(Fate.RETRY, reason)
    return Settlement(Fate.DEAD, f"gave up after {attempt} attempts: {reason}"[:_LONGEST_REASON])


def describe(error: BaseException) -> str:
    """
    Say what went wrong without quoting the input.

    Our own errors are written to be shown. Of a foreign one only the class and the place are
    given, since its text may quote a body, an address or a credential; the log has the rest.
    """
    return f"{type(error).__name__}: {_detail(error)}"[:_LONGEST_REASON]


def _detail(error: BaseException) -> str:
    if isinstance(error, StellaError):
        return str(error)
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'body'} {problem['type']}"
            for problem in problems[:_MOST_PROBLEMS]
        )
    if isinstance(error, json.JSONDecodeError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    return f"in {frames[-1].name}, line {frames[-1].lineno}" if frames else "no place known"
