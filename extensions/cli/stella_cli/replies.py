"""From an HTTP response to a typed value, or to the failure that it tells of."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from stella_cli.failures import NotThere, Refused, ServerFailed
from stella_contracts.errors import Problem

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)

MAX_PROBLEMS = 20
MAX_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Reply(Generic[Value_co]):
    """An answer twice: as a value, and as the JSON that came, unknown fields included."""

    value: Value_co
    document: Any


def read(response: httpx.Response, shape: TypeAdapter[Value]) -> Reply[Value]:
    """
    The answer of a successful call.

    Raises Refused for a 4xx (NotThere for 404), ServerFailed for any other answer that is
    not a success, and for a success that is not the JSON of an integrations API.
    """
    raise_for_failure(response)
    try:
        document = response.json()
        return Reply(shape.validate_python(document, strict=False), document)
    except (ValidationError, ValueError, RecursionError):
        raise ServerFailed(
            f"{_where(response)} answered with something else than the integrations API does."
            " Check the URL (STELLA_URL), and that this client is not older than the server."
        ) from None


def raise_for_failure(response: httpx.Response) -> None:
    """Raise what `read` raises, unless the answer is a success."""
    if response.is_success:
        return
    if response.is_redirect:
        target = _text(response.headers.get("location", "another address"))
        raise ServerFailed(
            f"{_where(response)} redirects to {target}. Use the address it redirects to."
        )
    problem = _problem(response)
    failure = Refused if response.is_client_error else ServerFailed
    if response.status_code == httpx.codes.NOT_FOUND:
        failure = NotThere
    raise failure(
        _sentence(response, problem),
        problems=_problems(problem.get("errors")),
        request_id=_text(problem.get("requestId", "")) or None,
    )


def _problem(response: httpx.Response) -> dict[str, Any]:
    """The body of RFC 9457, or nothing: a proxy answers in its own words."""
    try:
        document = response.json()
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _sentence(response: httpx.Response, problem: dict[str, Any]) -> str:
    # `error` and `error_description` are what a token endpoint answers (RFC 6749, 5.2).
    title = _text(problem.get("title") or problem.get("error") or response.reason_phrase)
    detail = _text(problem.get("detail") or problem.get("error_description"))
    sentence = f"{title} ({response.status_code})" if title else f"HTTP {response.status_code}"
    sentence += f": {detail}" if detail else f", from {_where(response)}."
    if response.status_code == httpx.codes.UNAUTHORIZED:
        sentence += " Log in again (stella login), or set another STELLA_TOKEN."
    return sentence


def _problems(listed: Any) -> list[Problem]:
    if not isinstance(listed, list):
        return []
    return [
        Problem(_text(each.get("pointer")), _text(each.get("detail")))
        for each in listed[:MAX_PROBLEMS]
        if isinstance(each, dict) and _text(each.get("detail"))
    ]


def _text(value: Any) -> str:
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def _where(response: httpx.Response) -> str:
    url = response.request.url
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"
