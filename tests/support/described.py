"""The operations of the API as its description has them, so that a test is of each there is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

PREFIX = "/api/v1"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, and what it takes."""

    method: str
    path: str
    parameters: tuple[Mapping[str, Any], ...]
    body: Any
    """The first example of its body, or None if it has none."""
    media_type: str
    id_fields: tuple[str, ...]
    """Properties of the body that are ids of something."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def named(self, place: str) -> dict[str, Mapping[str, Any]]:
        """Its parameters of a place (`path`, `query`, `header`), by lower-case name."""
        return {p["name"].lower(): p for p in self.parameters if p["in"] == place}

    def ids_of(self, place: str) -> list[str]:
        """The parameters of a place that are UUIDs."""
        found = [p for p in self.parameters if p["in"] == place]
        return [p["name"] for p in found if '"format": "uuid"' in json.dumps(p["schema"])]


def operations(application: FastAPI) -> list[Operation]:
    """Every operation that is described, without the prefix of the API."""
    description = json.loads(json.dumps(application.openapi()))
    schemas = description["components"]["schemas"]
    return [
        _operation(method, path, described, schemas)
        for path, methods in description["paths"].items()
        for method, described in methods.items()
    ]


def _operation(
    method: str, path: str, described: dict[str, Any], schemas: dict[str, Any]
) -> Operation:
    content: dict[str, Any] = described.get("requestBody", {}).get("content", {})
    media_type = next(iter(content), "application/json")
    taken: dict[str, Any] = content.get(media_type, {})
    schema: dict[str, Any] = taken.get("schema", {})
    named = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    examples = [example["value"] for example in taken.get("examples", {}).values()]
    return Operation(
        method=method.upper(),
        path=path.removeprefix(PREFIX),
        parameters=tuple(described.get("parameters", ())),
        body=examples[0] if examples else None,
        media_type=media_type,
        id_fields=tuple(
            name
            for name, about in named.get("properties", {}).items()
            if '"format": "uuid"' in json.dumps(about)
        ),
    )
