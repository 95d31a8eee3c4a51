"""
How soon a target that is gone is looked at again. Pure.

While an outage lasts and nobody answers, each failure doubles the time from one interval on, up
to an hour; an integration that is checked less often than that keeps its interval. Any other
outcome ends it.
"""

from dataclasses import replace

from stella_contracts.health import ErrorCode, IntegrationStatus
from stella_health_worker.verdict import Standing, Verdict

LONGEST_SECONDS = 3600.0
UNREACHABLE = frozenset({ErrorCode.CONNECT, ErrorCode.DNS, ErrorCode.TIMEOUT})


def backed_off(
    verdict: Verdict,
    before: Standing,
    code: ErrorCode | None,
    *,
    interval_seconds: float,
    is_scheduled: bool,
) -> Verdict:
    """The verdict, with a pause for a target that is gone, and an end of the pause for one that is
    back."""
    if not is_scheduled:
        # Who asks does not lengthen the pause, and ends it by a success.
        is_back = before.status is IntegrationStatus.UNHEALTHY and not verdict.failures
        if is_back and verdict.recheck_seconds is None:
            return replace(verdict, recheck_seconds=interval_seconds)
        return verdict
    failures_since = verdict.failures - before.failure_threshold
    is_gone = verdict.status is IntegrationStatus.UNHEALTHY and code in UNREACHABLE
    if not is_gone or failures_since < 1 or verdict.recheck_seconds is not None:
        return verdict
    doubled = interval_seconds * 2.0 ** min(failures_since, 16)
    pause = min(doubled, max(LONGEST_SECONDS, interval_seconds))
    return replace(verdict, pause_seconds=max(pause, verdict.pause_seconds or 0.0))
