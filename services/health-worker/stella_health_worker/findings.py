"""From what a plugin answered, or did in place of that, to a result that may be kept. Pure."""

from datetime import datetime, timedelta

from stella_contracts.failures import RETRY_AFTER_LIMIT_SECONDS
from stella_contracts.health import ErrorCode, HealthResult, HealthStatus, Step
from stella_health_worker.breakers import Refusal
from stella_health_worker.expiry import warned
from stella_health_worker.scrubbing import Scrubber

MESSAGE_LIMIT = 500


def normalised(result: HealthResult, scrubber: Scrubber, now: datetime) -> HealthResult:
    """The result with a code that fits its status, and a message that may be shown."""
    result = warned(result, now)
    status, code, after = result.status, result.error_code, result.retry_after_seconds
    if status is HealthStatus.HEALTHY:
        code = None
    elif code is ErrorCode.RATE_LIMITED:
        status = HealthStatus.DEGRADED
    elif code is ErrorCode.NOT_SUPPORTED or status is HealthStatus.UNKNOWN:
        status, code = HealthStatus.UNKNOWN, code or ErrorCode.NOT_SUPPORTED
    elif code is None:
        code = ErrorCode.REMOTE_ERROR
    message = result.error_message and scrubber.scrub(result.error_message)[:MESSAGE_LIMIT]
    return HealthResult(
        status=status,
        error_code=code,
        error_message=message,
        retry_after_seconds=after if after is None else min(after, RETRY_AFTER_LIMIT_SECONDS),
        credential_expires_at=result.credential_expires_at,
    )


def scrubbed(step: Step, scrubber: Scrubber) -> Step:
    """The step, with a name that may be shown."""
    name = scrubber.scrub(step.name)
    return step if name == step.name else step.model_copy(update={"name": name})


def raised(error: BaseException) -> HealthResult:
    """A defect of the plugin: the name of what it raised, since the text may hold a secret."""
    return HealthResult.unhealthy(
        ErrorCode.PLUGIN_ERROR, f"The plugin raised {type(error).__name__[:64]}"
    )


def timed_out(seconds: float) -> HealthResult:
    """There was no result when the time was over."""
    return HealthResult.unhealthy(ErrorCode.TIMEOUT, f"No result within {seconds:g} s")


def not_asked(refusal: Refusal, now: datetime) -> HealthResult:
    """The host was left alone: that is a result too, with the code of the failures before it."""
    again = now + timedelta(seconds=refusal.seconds)
    return HealthResult.unhealthy(
        refusal.code,
        f"The host did not answer {refusal.failures} times in a row;"
        f" it is asked again at {again:%H:%M:%S} UTC",
    )
