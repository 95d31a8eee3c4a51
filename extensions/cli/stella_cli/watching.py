"""What is new since the last look at an integration; pure."""

from dataclasses import dataclass
from uuid import UUID

from stella_contracts.health import FinishedCheck, Health, IntegrationStatus


@dataclass(frozen=True, slots=True)
class News:
    """What one look told."""

    previous: IntegrationStatus | None
    """The status at the look before; None at the first."""
    changed: bool
    """Whether the status is another one than at the look before, or this is the first."""
    checks: list[FinishedCheck]
    """Finished since the last look, oldest first; at the first look the last one alone."""


@dataclass(frozen=True, slots=True)
class _Seen:
    status: IntegrationStatus
    last_check: UUID | None


class Watch:
    """Remembers, for each integration, what was told already."""

    def __init__(self) -> None:
        self._seen: dict[UUID, _Seen] = {}

    def look(self, health: Health) -> News:
        """Compare with the last look, and remember this one."""
        seen = self._seen.get(health.integration_id)
        checks = _since(health, seen.last_check if seen else None)
        last = health.last_check.check_id if health.last_check else None
        self._seen[health.integration_id] = _Seen(health.status, last)
        previous = seen.status if seen else None
        return News(previous, previous is not health.status, checks)

    def forget_others(self, kept: set[UUID]) -> None:
        """Drop what is remembered of integrations that are no longer watched."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in kept}


def _since(health: Health, told: UUID | None) -> list[FinishedCheck]:
    last = health.last_check
    if last is None or last.check_id == told:
        return []
    if told is None:
        return [last]
    new = [last]
    for each in health.history.items:
        if not isinstance(each, FinishedCheck) or each.check_id == told:
            break
        if each.check_id != last.check_id:
            new.append(each)
    return new[::-1]
