"""What a try means: for the delivery, for its endpoint, and for whoever should hear of it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from stella_contracts.messages import EventType
from stella_contracts.webhooks import DeliveryState
from stella_runtime.persistence.webhook_sending import Endpoint, Parcel

FAILING = "failing"
GONE = "gone"
_GONE_STATUS = 410


@dataclass(frozen=True, slots=True)
class Rules:
    """How patient we are."""

    retry_seconds: Sequence[float] = (5, 30, 120, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
    """Pauses between the tries of one delivery: about a day in all."""
    pause_seconds: float = 1.0
    """An endpoint's pause after its first failure. It doubles with each further one in a row."""
    longest_pause_seconds: float = 3600.0
    disable_failures: int = 30
    disable_age: timedelta = timedelta(days=3)
    """An endpoint is disabled when it failed so often in a row, and for so long."""
    trial_every: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Try:
    """How one try went."""

    status_code: int | None = None
    error: str | None = None
    retry_after_seconds: float | None = None
    is_ours: bool = False
    """It failed before anything was sent: no fault of the endpoint's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is stored of a try, and announced."""

    state: DeliveryState
    next_attempt_at: datetime | None
    endpoint: Endpoint
    announce: EventType | None = None


def judge(parcel: Parcel, tried: Try, rules: Rules, *, now: datetime, spread: float) -> Verdict:
    """`spread`, from 0 to 1, keeps what failed together from being tried again together."""
    before = parcel.endpoint
    if tried.error is None:
        healed = EventType.WEBHOOK_ENABLED if before.disabled_reason else None
        return Verdict(DeliveryState.DELIVERED, None, Endpoint(), healed)
    if tried.status_code == _GONE_STATUS:
        gone = replace(_failed(before, now), disabled_reason=GONE)
        return Verdict(DeliveryState.FAILED, None, gone, EventType.WEBHOOK_DISABLED)
    asked = tried.retry_after_seconds or 0.0
    state, next_attempt_at = _retried(parcel.tries, rules, now, asked=asked, spread=spread)
    if tried.is_ours:
        wait = rules.trial_every if before.disabled_reason else timedelta(seconds=_first(rules))
        return Verdict(state, next_attempt_at, replace(before, not_before=now + wait))
    after = _failed(before, now)
    if before.disabled_reason == FAILING:
        return Verdict(state, next_attempt_at, replace(after, not_before=now + rules.trial_every))
    age = now - (after.failing_since or now)
    if after.consecutive_failures >= rules.disable_failures and age >= rules.disable_age:
        disabled = replace(after, disabled_reason=FAILING, not_before=now + rules.trial_every)
        return Verdict(state, next_attempt_at, disabled, EventType.WEBHOOK_DISABLED)
    doubled = rules.pause_seconds * 2 ** min(after.consecutive_failures - 1, 30)
    pause = max(min(doubled, rules.longest_pause_seconds) * _jitter(spread), asked)
    return Verdict(
        state, next_attempt_at, replace(after, not_before=now + timedelta(seconds=pause))
    )


def _failed(before: Endpoint, now: datetime) -> Endpoint:
    return replace(
        before,
        consecutive_failures=before.consecutive_failures + 1,
        failing_since=before.failing_since or now,
    )


def _retried(
    tries: int, rules: Rules, now: datetime, *, asked: float, spread: float
) -> tuple[DeliveryState, datetime | None]:
    if tries >= len(rules.retry_seconds):
        return DeliveryState.FAILED, None
    seconds = max(rules.retry_seconds[tries] * _jitter(spread), asked)
    return DeliveryState.PENDING, now + timedelta(seconds=seconds)


def _first(rules: Rules) -> float:
    return rules.retry_seconds[0] if rules.retry_seconds else rules.pause_seconds


def _jitter(spread: float) -> float:
    return 0.8 + 0.4 * spread
