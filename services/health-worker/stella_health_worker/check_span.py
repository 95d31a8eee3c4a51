"""What a health check is called in logs, and the step of a trace that it is."""

import structlog

from stella_contracts.health import CheckTrigger, HealthStatus
from stella_runtime.persistence.scheduling import Outcome, Target
from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.logging import is_debugging
from stella_runtime.telemetry.spans import UNRECORDED, Span

log = structlog.get_logger()


def about(target: Target) -> dict[str, str]:
    """What each of its log lines says."""
    return {
        "integration_id": str(target.integration_id),
        "tenant_id": target.tenant_id,
        "provider_type": target.provider_type,
        "action": "health_check",
        "check_id": str(target.check_id),
    }


def check_span(target: Target) -> Span:
    """
    One that was asked for goes on in the trace of who asked.

    A scheduled one has a trace of its own, linked to the message that brought it with
    forty-nine others: so each is recorded or left out for itself.
    """
    if not tracing.is_recording():
        return UNRECORDED
    begin = tracing.new_trace if target.trigger is CheckTrigger.SCHEDULE else tracing.span
    return begin(
        "health check",
        integration_id=str(target.integration_id),
        tenant_id=target.tenant_id,
        provider_type=target.provider_type,
        action="health_check",
        check_id=str(target.check_id),
        trigger=target.trigger.value,
    )


def tell(outcome: Outcome) -> None:
    """Its one line when it has ended."""
    target, result = outcome.target, outcome.result
    quiet = result.status is HealthStatus.HEALTHY and target.trigger is CheckTrigger.SCHEDULE
    if quiet and not is_debugging():
        # At a few thousand a second, the lines of what is well would cost more than the checks.
        return
    (log.debug if quiet else log.info)(
        "health_checked",
        **about(target),
        status=result.status.value,
        error_code=result.error_code and result.error_code.value,
        latency_ms=outcome.latency_ms,
    )
