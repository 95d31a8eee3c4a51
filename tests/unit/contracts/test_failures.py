"""From what httpx raises and providers answer to error codes."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpcore
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.failures import (
    RETRY_AFTER_LIMIT_SECONDS,
    RateLimited,
    failure_of,
    raise_for_status,
    result_of,
    retry_after,
)
from stella_contracts.health import ErrorCode, HealthStatus
from stella_contracts.plugin import CheckFailed


def asking_for(value: bytes) -> httpx.Response:
    return httpx.Response(429, headers={b"Retry-After": value})


@given(st.binary(max_size=60).filter(lambda value: b"\r" not in value and b"\n" not in value))
def test_retry_after_is_within_its_bounds_or_unknown(value: bytes) -> None:
    seconds = retry_after(asking_for(value))

    assert seconds is None or 0 <= seconds <= RETRY_AFTER_LIMIT_SECONDS


@given(st.integers(min_value=0, max_value=10**30))
def test_retry_after_in_seconds_is_taken_at_its_word(seconds: int) -> None:
    assert retry_after(asking_for(b"%d" % seconds)) == min(seconds, RETRY_AFTER_LIMIT_SECONDS)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"", None, id="empty"),
        pytest.param(b"soon", None, id="a word"),
        pytest.param(b"-5", None, id="negative"),
        pytest.param(b"1.5", None, id="fraction"),
        pytest.param(b"00000000000120", 120, id="leading zeros"),
        pytest.param(b"9" * 5000, RETRY_AFTER_LIMIT_SECONDS, id="endless digits"),
        pytest.param(b"Mon, 1 Jan 2001 00:00:00 GMT", 0, id="a date that is past"),
        pytest.param(b"Fri, 1 Jan 9999 00:00:00 GMT", RETRY_AFTER_LIMIT_SECONDS, id="a far date"),
        pytest.param(b"Fri, 1 Jan 99999999999999999999 00:00:00 GMT", None, id="no year"),
        pytest.param(b"Fri, 1 Jan 2027 00:00:00 +99999999999999999999", None, id="no zone"),
    ],
)
def test_retry_after_of_any_form(value: bytes, expected: float | None) -> None:
    assert retry_after(asking_for(value)) == expected


def test_retry_after_as_a_date_counts_from_now() -> None:
    moment = datetime.now(UTC) + timedelta(minutes=30)

    seconds = retry_after(asking_for(format_datetime(moment, usegmt=True).encode()))

    assert seconds is not None
    assert 0 < seconds <= 1800


def hidden_below(error: httpx.HTTPError, *causes: BaseException) -> httpx.HTTPError:
    outer: BaseException = error
    for inner in causes:
        outer.__cause__ = inner
        outer = inner
    return error


UNTRUSTED = ssl.SSLCertVerificationError(1, "x")
EXPIRED = ssl.SSLCertVerificationError(1, "x")
EXPIRED.verify_message = "certificate has expired"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        pytest.param(
            hidden_below(httpx.ConnectError("x"), OSError(), socket.gaierror(-2, "x")),
            ErrorCode.DNS,
            "The host name does not resolve",
            id="unknown host two levels down",
        ),
        pytest.param(
            hidden_below(
                httpx.ConnectError("x"), ExceptionGroup("x", [OSError(), ConnectionRefusedError()])
            ),
            ErrorCode.CONNECT,
            "The connection was refused",
            id="refused, in a group",
        ),
        pytest.param(
            httpx.ConnectError("x"), ErrorCode.CONNECT, "No connection", id="no connection"
        ),
        pytest.param(
            hidden_below(httpx.ConnectError("x"), EXPIRED),
            ErrorCode.TLS,
            "The certificate was refused: certificate has expired",
            id="expired",
        ),
        pytest.param(
            hidden_below(httpx.ConnectError("x"), UNTRUSTED),
            ErrorCode.TLS,
            "The certificate was refused: not trusted",
            id="certificate without a reason",
        ),
        pytest.param(
            hidden_below(httpx.ConnectError("x"), ssl.SSLError(1, "WRONG_VERSION_NUMBER")),
            ErrorCode.TLS,
            "The TLS handshake failed",
            id="https to a plain port",
        ),
        pytest.param(httpx.PoolTimeout("x"), ErrorCode.TIMEOUT, "No answer in time", id="timeout"),
        pytest.param(
            httpx.ReadError("x"), ErrorCode.CONNECT, "The connection was lost", id="reset"
        ),
        pytest.param(
            httpx.RemoteProtocolError("x"),
            ErrorCode.BAD_RESPONSE,
            "The answer breaks the HTTP protocol",
            id="no HTTP",
        ),
        pytest.param(
            httpx.InvalidURL("x"),
            ErrorCode.MISCONFIGURED,
            "The endpoint is not a usable URL",
            id="no URL",
        ),
        pytest.param(
            httpx.HTTPStatusError(
                "x", request=httpx.Request("GET", "http://x"), response=httpx.Response(403)
            ),
            ErrorCode.PERMISSION_MISSING,
            "HTTP 403: The credential lacks a permission",
            id="raised by httpx for a status",
        ),
    ],
)
def test_failure_is_named_by_its_cause(
    error: httpx.HTTPError, code: ErrorCode, message: str
) -> None:
    failure = failure_of(error)

    assert (failure.code, failure.message) == (code, message)


def test_failure_with_causes_in_a_circle_is_named() -> None:
    error, cause = httpx.ConnectError("x"), OSError()
    error.__cause__ = cause
    cause.__cause__ = error

    assert failure_of(error).code is ErrorCode.CONNECT


def test_failure_of_an_earlier_request_does_not_count() -> None:
    error = hidden_below(httpx.ConnectError("x"), refused := ConnectionRefusedError())
    refused.__context__ = ssl.SSLError(1, "x")

    assert failure_of(error).code is ErrorCode.CONNECT


def test_cause_that_httpcore_took_off_is_found() -> None:
    below = httpcore.ConnectError()
    below.__context__ = socket.gaierror(-2, "x")
    error = hidden_below(httpx.ConnectError("x"), below)

    assert failure_of(error).code is ErrorCode.DNS


def test_failure_repeats_nothing_of_the_exception() -> None:
    failure = failure_of(httpx.LocalProtocolError("Illegal header value b'hunter2\\n'"))

    assert "hunter2" not in failure.message


@pytest.mark.parametrize(
    ("status", "code"),
    [
        pytest.param(301, ErrorCode.MISCONFIGURED, id="redirect"),
        pytest.param(304, ErrorCode.BAD_RESPONSE, id="not modified"),
        pytest.param(400, ErrorCode.BAD_RESPONSE, id="bad request"),
        pytest.param(401, ErrorCode.AUTH_REJECTED, id="unauthorized"),
        pytest.param(403, ErrorCode.PERMISSION_MISSING, id="forbidden"),
        pytest.param(404, ErrorCode.NOT_FOUND, id="not found"),
        pytest.param(429, ErrorCode.RATE_LIMITED, id="rate limited"),
        pytest.param(500, ErrorCode.REMOTE_ERROR, id="server error"),
        pytest.param(599, ErrorCode.REMOTE_ERROR, id="unnamed server error"),
    ],
)
def test_status_is_given_its_code(status: int, code: ErrorCode) -> None:
    response = httpx.Response(status, headers={"Location": "/elsewhere"} if status == 301 else {})

    with pytest.raises(CheckFailed) as caught:
        raise_for_status(response)

    assert caught.value.code is code


@pytest.mark.parametrize("status", [200, 204, 299])
def test_success_is_no_failure(status: int) -> None:
    raise_for_status(httpx.Response(status))


@pytest.mark.parametrize(
    ("failure", "status", "retry_after_seconds"),
    [
        pytest.param(RateLimited(120), HealthStatus.DEGRADED, 120, id="asked to pause"),
        pytest.param(
            CheckFailed(ErrorCode.RATE_LIMITED, "x"), HealthStatus.DEGRADED, None, id="by a plugin"
        ),
        pytest.param(
            CheckFailed(ErrorCode.NOT_SUPPORTED, "x"), HealthStatus.UNKNOWN, None, id="unsupported"
        ),
        pytest.param(CheckFailed(ErrorCode.TLS, "x"), HealthStatus.UNHEALTHY, None, id="other"),
    ],
)
def test_failure_stands_for_a_result(
    failure: CheckFailed, status: HealthStatus, retry_after_seconds: float | None
) -> None:
    result = result_of(failure)

    assert (result.status, result.retry_after_seconds) == (status, retry_after_seconds)
    assert result.error_code is failure.code


def test_long_message_is_cut() -> None:
    assert result_of(CheckFailed(ErrorCode.TLS, "x" * 9000)).error_message == "x" * 500
