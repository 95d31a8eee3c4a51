"""The description at /openapi.json: FastAPI's, with our errors, headers and examples."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from stella_api.examples import ANSWERS, PROBLEMS
from stella_api.problems import CODES, MEDIA_TYPE, ProblemDocument

_REFERENCE = "#/components/schemas/{model}"

ALWAYS = (
    "malformed_url",
    "token_rejected",
    "scope_missing",
    "tenant_missing",
    "too_many_requests",
    "internal_error",
)
UNAVAILABLE = ("database_unavailable", "keys_unavailable", "schema_missing", "roles_missing")
WITH_INPUT = ("invalid_request",)
WITH_BODY = ("malformed_body", "request_timeout", "body_too_large", "unsupported_media_type")

_HEADERS = {
    "ETag": "The version, for If-Match; it changes with the status, too, for If-None-Match.",
    "Location": "Where it is.",
    "Content-Location": "Where the check is.",
    "Preference-Applied": "The wait that was granted.",
}
_HEADERS_OF_ANSWER: dict[tuple[str, str], tuple[str, ...]] = {
    ("integrations_register", "201"): ("Location", "ETag"),
    ("integrations_get", "200"): ("ETag",),
    ("integrations_get", "304"): ("ETag",),
    ("integrations_get", "307"): ("Location",),
    ("integrations_change", "200"): ("ETag",),
    ("health_check", "200"): ("Preference-Applied", "Content-Location"),
    ("health_check", "202"): ("Location",),
    ("plugins_discover", "200"): ("Preference-Applied",),
    ("webhooks_register", "201"): ("Location", "ETag"),
    ("webhooks_get", "200"): ("ETag",),
    ("webhooks_change", "200"): ("ETag",),
}


def operation_id(route: APIRoute) -> str:
    """A name that generated clients can use, such as `integrations_register`."""
    return f"{route.tags[0]}_{route.name}".replace(" ", "_") if route.tags else route.name


class Described(FastAPI):
    """An application that describes what FastAPI does not know of."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = _complete(super().openapi())
        return self.openapi_schema


def _complete(description: dict[str, Any]) -> dict[str, Any]:
    for path, operations in description["paths"].items():
        if path.startswith("/api/v1/"):
            for operation in operations.values():
                _complete_operation(operation)
    schemas = description["components"]["schemas"]
    _, ours = models_json_schema(
        [(ProblemDocument, "serialization")], ref_template=_REFERENCE, by_alias=True
    )
    schemas |= ours["$defs"]
    # FastAPI's own, which nothing answers with.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for name, example in ANSWERS.items():
        schemas[name]["examples"] = [example.model_dump(mode="json")]
    return description


def _complete_operation(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    codes = [*ALWAYS, *UNAVAILABLE]
    if "parameters" in operation or "requestBody" in operation:
        codes += WITH_INPUT
    if "requestBody" in operation:
        codes += WITH_BODY
    for status, response in list(responses.items()):
        if int(status) >= 400:
            # What `problems()` wrote, and FastAPI's 422, which has no codes of ours.
            codes += response.get(CODES, ())
            del responses[status]
    by_status: dict[str, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(str(PROBLEMS[code]["status"]), []).append(code)
    for status, listed in sorted(by_status.items()):
        responses[status] = _problem_response(sorted(listed))
    for (name, status), headers in _HEADERS_OF_ANSWER.items():
        if operation["operationId"] == name:
            responses[status]["headers"] = {
                header: {"description": _HEADERS[header], "schema": {"type": "string"}}
                for header in headers
            }


def _problem_response(codes: list[str]) -> dict[str, Any]:
    return {
        "description": ", ".join(codes),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": _REFERENCE.format(model=ProblemDocument.__name__)},
                "examples": {code: {"value": PROBLEMS[code]} for code in codes},
            }
        },
    }
