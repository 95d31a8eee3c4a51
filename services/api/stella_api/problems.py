"""Errors as RFC 9457 problems: by their kind, never by their leaf."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from stella_api.repeating import ROLLED_BACK
from stella_contracts.errors import (
    Conflict,
    DatabaseUnavailable,
    Forbidden,
    Limited,
    Malformed,
    NotFound,
    PreconditionFailed,
    PreconditionMissing,
    Problem,
    Rejected,
    StellaError,
    Unauthenticated,
    Unavailable,
)
from stella_runtime.persistence.driver_errors import TransactionRolledBack

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

STATUS_OF_KIND: dict[type[StellaError], int] = {
    NotFound: 404,
    Conflict: 409,
    PreconditionFailed: 412,
    PreconditionMissing: 428,
    Malformed: 400,
    Rejected: 422,
    Unauthenticated: 401,
    Forbidden: 403,
    Limited: 429,
    Unavailable: 503,
}

TITLE_OF_STATUS = {
    400: "Malformed",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    412: "Precondition failed",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Rejected",
    428: "Precondition required",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}

CODES = "x-codes"
"""Where a route keeps the codes of its problems until it is described."""

_HEADERS_OF_STATUS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": 'Bearer realm="stella"'},
    429: {"Retry-After": "30"},
    503: {"Retry-After": "2"},
}


class ProblemPlace(BaseModel):
    """One thing that is wrong: where in the body (a JSON pointer), or in which parameter."""

    pointer: str | None = None
    parameter: str | None = None
    detail: str


class ProblemDocument(BaseModel):
    """What an error looks like (RFC 9457)."""

    type: str = Field(description="Stable: match on this.", examples=["urn:stella:problem:x"])
    title: str
    status: int
    detail: str
    requestId: str  # noqa: N815 - as it is written in JSON
    errors: list[ProblemPlace] = []


def status_of(error: type[StellaError]) -> int:
    """The status of a kind of error."""
    return next(status for kind, status in STATUS_OF_KIND.items() if issubclass(error, kind))


def document(
    status: int,
    code: str,
    detail: str,
    *,
    request_id: str,
    errors: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """What a problem says."""
    content: dict[str, Any] = {
        "type": f"urn:stella:problem:{code}",
        "title": TITLE_OF_STATUS.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "requestId": request_id,
    }
    if errors:
        content["errors"] = list(errors)
    return content


def document_of(error: StellaError, *, request_id: str) -> dict[str, Any]:
    """What the problem says that an error of ours is."""
    return document(
        status_of(type(error)),
        error.code,
        str(error),
        request_id=request_id,
        errors=[{"pointer": p.pointer, "detail": p.detail} for p in error.problems],
    )


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    request_id: str,
    errors: Sequence[Mapping[str, str]] = (),
) -> JSONResponse:
    """A problem, ready to be sent."""
    return _response(document(status, code, detail, request_id=request_id, errors=errors))


def problem_of(error: StellaError, *, request_id: str) -> JSONResponse:
    """The problem that an error of ours is, ready to be sent."""
    answer = _response(document_of(error, request_id=request_id))
    if error.retry_after_seconds is not None:
        answer.headers["Retry-After"] = str(error.retry_after_seconds)
    return answer


def _response(content: dict[str, Any]) -> JSONResponse:
    status: int = content["status"]
    return JSONResponse(
        content,
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=_HEADERS_OF_STATUS.get(status),
    )


def problems(*errors: type[StellaError]) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside its success. `openapi` makes a description of it."""
    codes: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        response = codes.setdefault(status_of(error), {"description": "", CODES: []})
        response[CODES].append(error.code)
    return codes


TellOfRefusal = Callable[[Scope, str, Literal["refused", "failed"]], Awaitable[None]]


def install(app: FastAPI, tell_of_refusal: TellOfRefusal) -> None:
    """Have every error answered with a problem, after `tell_of_refusal` has heard of its code."""

    async def ours(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, StellaError)  # noqa: S101 - registered for it
        if isinstance(error, TransactionRolledBack):
            setattr(request.state, ROLLED_BACK, True)
        if isinstance(error, Unavailable):
            log.warning("request_not_served", reason=str(error), error_code=error.code)
        # Where the database is away, there is no log to write to, and it may come again.
        if not isinstance(error, DatabaseUnavailable):
            failed = isinstance(error, Unavailable)
            await tell_of_refusal(request.scope, error.code, "failed" if failed else "refused")
        return problem_of(error, request_id=request.state.request_id)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
        await tell_of_refusal(request.scope, "invalid_request", "refused")
        # The values stay out: what was sent may be a secret.
        return problem(
            422,
            "invalid_request",
            "The request breaks its schema. See errors.",
            request_id=request.state.request_id,
            errors=[_place(each) for each in error.errors()[:20]],
        )

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        phrase = HTTPStatus(error.status_code).phrase
        answer = problem(
            error.status_code,
            phrase.lower().replace(" ", "_"),
            f"{phrase}: {request.method} {request.url.path[:200]}",
            request_id=request.state.request_id,
        )
        answer.headers.update(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            answer.headers["Allow"] = ", ".join(_methods_of(request))
        return answer

    app.add_exception_handler(StellaError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)


def _methods_of(request: Request) -> list[str]:
    """What the path allows. FastAPI names the methods of the first route that has it alone."""
    named = request.app.openapi()["paths"].get(request.url.path)
    if named is not None:
        # A path with a name of its own, which some {id} of another path would match as well.
        return sorted(method.upper() for method in named)
    return [
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


def place_of(path: Sequence[str | int], message: str) -> Problem:
    """What a validation says of a body, without the value."""
    return Problem(pointer(path), message.removeprefix("Value error, "))


def _place(error: Mapping[str, Any]) -> dict[str, str]:
    source, *path = error["loc"]
    detail = str(error["msg"]).removeprefix("Value error, ")
    if source == "body":
        return {"pointer": pointer(path), "detail": detail}
    return {"parameter": ".".join(map(str, path)), "detail": detail}


def pointer(path: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901)."""
    steps = (str(step)[:100].replace("~", "~0").replace("/", "~1") for step in path)
    return "".join(f"/{step}" for step in steps)
