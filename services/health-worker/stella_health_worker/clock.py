"""The database's time, so that a host whose clock is wrong does not tell its own in the history."""

import time
from datetime import UTC, datetime, timedelta


class DatabaseClock:
    """What the database said last, carried on by the monotonic clock of this process."""

    def __init__(self) -> None:
        self._said: datetime | None = None
        self._heard = 0.0

    def hear(self, moment: datetime | None) -> None:
        """The database says that it is now this moment."""
        if moment is not None:
            self._said, self._heard = moment, time.monotonic()

    def now(self) -> datetime:
        """This host's own time, until the database has said its."""
        if self._said is None:
            return datetime.now(UTC)
        return self._said + timedelta(seconds=time.monotonic() - self._heard)
