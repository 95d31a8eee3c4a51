"""An API as its vendor describes it in OpenAPI, to hold requests and answers to."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from tests.support.vendor_specs import vendor_spec


class ApiDescription:
    """
    One of the descriptions in the vendor specs, for a server at that endpoint; skips the test
    where there are none.
    """

    def __init__(self, file: str, endpoint: str) -> None:
        self._document = json.loads(vendor_spec(file).read_bytes())
        self._document["servers"] = [{"url": endpoint}]
        self._api = OpenAPI.from_dict(self._document)
        self._endpoint = endpoint

    def check_request(self, sent: httpx.Request) -> None:
        """Raise unless the request is one of those described."""
        self._api.validate_request(
            _request(
                self._endpoint,
                sent.method,
                sent.url.raw_path.decode().partition("?")[0],
                dict(sent.headers),
                dict(sent.url.params),
                sent.content,
            )
        )

    def check_answer(self, path: str, status: int, body: Any, method: str = "GET") -> None:
        """Raise unless the answer is one of those described."""
        answer = MockResponse(json.dumps(body).encode(), status, content_type="application/json")
        self._api.validate_response(_request(self._endpoint, method, path, {}), answer)

    def statuses(self, path: str, method: str = "get") -> list[int]:
        return sorted(map(int, self._document["paths"][path][method]["responses"]))

    def examples(self, path: str, status: int, method: str = "get") -> Mapping[str, Any]:
        """The vendor's own answers, by their names; one of our making where there are none."""
        answer = self._resolved(self._document["paths"][path][method]["responses"][str(status)])
        content = answer.get("content", {}).get("application/json", {})
        if "examples" in content:
            found = {name: self._resolved(each) for name, each in content["examples"].items()}
            return {name: each["value"] for name, each in found.items()}
        if "example" in content:
            return {"example": content["example"]}
        return {"sample": self._sample(content["schema"]) if content else None}

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        found: dict[str, Any] = self._document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return found

    def _sample(self, schema: dict[str, Any]) -> Any:
        """As mock servers make it: words for text, one item in each list."""
        schema = self._resolved(schema)
        if "example" in schema:
            return schema["example"]
        match schema.get("type"):
            case "object":
                properties = schema.get("properties", {})
                return {name: self._sample(inner) for name, inner in properties.items()}
            case "array":
                return [self._sample(schema["items"])]
            case "boolean":
                return True
            case "integer":
                return 1
        return "2026-01-01T00:00:00Z" if schema.get("format") == "date-time" else "string"


def _request(
    endpoint: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    query: Mapping[str, str] | None = None,
    content: bytes = b"",
) -> MockRequest:
    return MockRequest(
        endpoint,
        method.lower(),
        path,
        headers=dict(headers),
        args=dict(query or {}),
        data=content,
        content_type="application/json",
    )
