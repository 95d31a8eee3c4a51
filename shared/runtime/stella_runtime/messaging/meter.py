"""What a bus tells of itself while it works, for whoever keeps the numbers."""

from typing import Protocol


class Meter(Protocol):
    """Kept by `telemetry.metrics.Metrics`. Each call returns at once."""

    def message_taken(self, queue: str, seconds_waited: float) -> None:
        """A handler gets a message that was published so long ago."""

    def message_died(self, queue: str) -> None:
        """A handler could not do it, and it lies in the dead letters of its queue now."""

    def publisher_blocked(self, blocked: bool) -> None:
        """Whether the broker has stopped taking what this process publishes."""


class NoMeter:
    """Keeps nothing."""

    def message_taken(self, queue: str, seconds_waited: float) -> None:
        pass

    def message_died(self, queue: str) -> None:
        pass

    def publisher_blocked(self, blocked: bool) -> None:
        pass
