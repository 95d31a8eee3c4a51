"""From what went wrong on the way to a provider to an error code, the same for every plugin."""

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpcore
import httpx

from stella_contracts.health import ErrorCode, HealthResult, HealthStatus
from stella_contracts.plugin import CheckFailed

RETRY_AFTER_LIMIT_SECONDS = 3600.0


def failure_of(error: httpx.HTTPError | httpx.InvalidURL) -> CheckFailed:
    """
    Name a transport failure.

    The message is ours: the text of a foreign exception can hold a header, and with it a
    secret (httpx `LocalProtocolError` does).
    """
    if isinstance(error, httpx.HTTPStatusError):
        return _failure_of_status(error.response)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return CheckFailed(ErrorCode.MISCONFIGURED, "The endpoint is not a usable URL")
    # The innermost first: what wraps it may be of the same type, and know less.
    causes = list(_causes(error))[::-1]
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return CheckFailed(ErrorCode.DNS, "The host name does not resolve")
        if isinstance(cause, ssl.SSLCertVerificationError):
            # Only a handshake of OpenSSL sets it.
            reason = getattr(cause, "verify_message", "") or "not trusted"
            return CheckFailed(ErrorCode.TLS, f"The certificate was refused: {reason}")
        if isinstance(cause, ssl.SSLError):
            return CheckFailed(ErrorCode.TLS, "The TLS handshake failed")
    if isinstance(error, httpx.TimeoutException):
        awaited = "connection" if isinstance(error, httpx.ConnectTimeout) else "answer"
        return CheckFailed(ErrorCode.TIMEOUT, f"No {awaited} in time")
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        refused = any(isinstance(cause, ConnectionRefusedError) for cause in causes)
        return CheckFailed(
            ErrorCode.CONNECT, "The connection was refused" if refused else "No connection"
        )
    if isinstance(error, httpx.NetworkError):
        return CheckFailed(ErrorCode.CONNECT, "The connection was lost")
    return CheckFailed(ErrorCode.BAD_RESPONSE, "The answer breaks the HTTP protocol")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        # Not __context__, which may be the failure of an earlier request. But httpcore takes the
        # cause off what it raises again, and its ConnectError always stands for another failure.
        cut_off = isinstance(current, httpcore.ConnectError) and current.__cause__ is None
        waiting.append(current.__context__ if cut_off else current.__cause__)
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions


_CODE_OF_STATUS = {
    401: (ErrorCode.AUTH_REJECTED, "The credential was rejected"),
    403: (ErrorCode.PERMISSION_MISSING, "The credential lacks a permission"),
    404: (ErrorCode.NOT_FOUND, "The provider's API is not at this endpoint"),
}


def raise_for_status(response: httpx.Response) -> None:
    """Raise CheckFailed, with the code of its status, unless the answer is a success."""
    if not response.is_success:
        raise _failure_of_status(response)


def _failure_of_status(response: httpx.Response) -> CheckFailed:
    status = response.status_code
    if response.has_redirect_location:
        return CheckFailed(
            ErrorCode.MISCONFIGURED,
            f"HTTP {status}: the endpoint redirects. Use the address it redirects to",
        )
    if status in _CODE_OF_STATUS:
        code, message = _CODE_OF_STATUS[status]
        return CheckFailed(code, f"HTTP {status}: {message}")
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return RateLimited(retry_after(response))
    if response.is_server_error:
        return CheckFailed(ErrorCode.REMOTE_ERROR, f"HTTP {status}")
    return CheckFailed(ErrorCode.BAD_RESPONSE, f"HTTP {status}")


class RateLimited(CheckFailed):
    """The provider asks for a pause. It is up: the integration is degraded, not unhealthy."""

    def __init__(self, retry_after_seconds: float | None) -> None:
        super().__init__(ErrorCode.RATE_LIMITED, "The provider limits our rate")
        self.retry_after_seconds = retry_after_seconds


def result_of(failure: CheckFailed) -> HealthResult:
    """The result that a raised failure stands for."""
    limited = failure.code is ErrorCode.RATE_LIMITED
    unsupported = failure.code is ErrorCode.NOT_SUPPORTED
    status = HealthStatus.DEGRADED if limited else HealthStatus.UNHEALTHY
    return HealthResult(
        status=HealthStatus.UNKNOWN if unsupported else status,
        error_code=failure.code,
        error_message=failure.message[:500],
        retry_after_seconds=failure.retry_after_seconds
        if isinstance(failure, RateLimited)
        else None,
    )


def retry_after(response: httpx.Response, *, reset_header: str = "") -> float | None:
    """
    Seconds that a Retry-After header (RFC 9110: seconds or a date) asks for, at most an hour.

    Without one, those until the moment in another header, in seconds since 1970, by the clock
    of the provider.
    """
    seconds = _whole_seconds(response.headers.get("retry-after", ""))
    if seconds is None and (moment := _moment(response.headers.get("retry-after", ""))):
        seconds = (moment - datetime.now(UTC)).total_seconds()
    reset = _whole_seconds(response.headers.get(reset_header, "")) if reset_header else None
    if seconds is None and reset is not None:
        there = _moment(response.headers.get("date", "")) or datetime.now(UTC)
        seconds = reset - there.timestamp()
    return None if seconds is None else min(max(seconds, 0.0), RETRY_AFTER_LIMIT_SECONDS)


def _whole_seconds(value: str) -> float | None:
    value = value.strip()
    if not (value.isascii() and value.isdigit()):
        return None
    return float(value.lstrip("0")[:12] or 0)


def _moment(value: str) -> datetime | None:
    """A date of HTTP, or None for what is none."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
