"""What ends a command: a sentence for its user, and an exit code for a script."""

from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar

from stella_contracts.errors import Problem


class ExitCode(IntEnum):
    """What scripts may rely on."""

    DONE = 0
    FAILED = 1
    """The server or the network failed; the same call may work later."""
    REFUSED = 2
    """The command or its input is wrong; the same call will not work later."""
    UNHEALTHY = 3
    LATE = 4
    """What was waited for did not happen in time."""


class Failure(Exception):
    """Ends a command. The message is a whole sentence, without a secret."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(
        self, message: str, *, problems: Sequence[Problem] = (), request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.problems = problems
        self.request_id = request_id


class ServerFailed(Failure):
    """No answer, or one that tells of the server's own failure."""


class Refused(Failure):
    """The server, or we, do not accept the input."""

    exit_code = ExitCode.REFUSED


class NotThere(Refused):
    """What was named does not exist, or not for this tenant."""


class Late(Failure):
    """What was waited for did not happen in time."""

    exit_code = ExitCode.LATE
