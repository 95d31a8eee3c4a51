"""What a plugin's config schema may be: JSON Schema 2020-12, self-contained, of an object."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from stella_contracts.errors import ManifestRejected
from stella_contracts.json_values import storable
from stella_contracts.manifest import CA_BUNDLE, Manifest

_CA_BUNDLE_SCHEMA = {
    "type": "string",
    "maxLength": 65536,
    "pattern": r"^\s*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s-]+$",
    "description": "Certificates (PEM) of authorities to trust besides the hub's.",
}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def check_json(values: Any) -> None:
    """
    Raise ManifestRejected unless PostgreSQL can store the values as JSON.

    TOML has more than JSON has: dates, NaN, integers of any size, and NUL in text.
    """
    try:
        json.dumps(storable(values))
    except (ValueError, TypeError) as error:
        raise ManifestRejected(f"plugin.toml has a value that JSON cannot hold. {error}") from error


def check_config_schema(schema: Mapping[str, Any]) -> None:
    """Raise ManifestRejected, with what is wrong and where. The schema passed `check_json`."""
    if schema.get("$schema", _DIALECT) != _DIALECT:
        raise ManifestRejected(f"config_schema has another $schema than {_DIALECT}.")
    if schema.get("type") != "object":
        raise ManifestRejected('config_schema must say type = "object".')
    try:
        Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        where = "/".join(map(str, error.absolute_path))
        raise ManifestRejected(f"config_schema is no JSON Schema: at {where!a}.") from error
    except (ValueError, OverflowError, RecursionError) as error:
        # `re` has more ways to refuse a pattern than the one that jsonschema expects.
        raise ManifestRejected(
            f"config_schema cannot be compiled: {type(error).__name__}."
        ) from error
    _check_references(schema)


def with_hub_fields(manifest: Manifest) -> Manifest:
    """
    The manifest with the config fields that the hub itself understands, for every plugin that
    has an endpoint: people write them beside those of the plugin, which never sees them.
    """
    schema = manifest.config_schema
    properties = schema.get("properties")
    if not isinstance(properties, dict) or "endpoint" not in properties:
        return manifest
    merged = {**schema, "properties": {**properties, CA_BUNDLE: _CA_BUNDLE_SCHEMA}}
    return manifest.model_copy(update={"config_schema": merged})


def _check_references(schema: Mapping[str, Any]) -> None:
    # A reference to elsewhere would be fetched, or fail, while somebody's config is checked.
    resource = DRAFT202012.create_resource(dict(schema))
    resolver = Registry().with_resource("", resource).resolver()
    for value in _tables(schema):
        if value is not schema and isinstance(value.get("$id"), str):
            raise ManifestRejected("config_schema may have an $id at its root only.")
        for keyword in ("$ref", "$dynamicRef"):
            reference = value.get(keyword)
            if not isinstance(reference, str):
                continue
            if not reference.startswith("#"):
                raise ManifestRejected(f"config_schema refers to elsewhere: {reference!a}.")
            try:
                resolver.lookup(reference)
            except Unresolvable as error:
                raise ManifestRejected(
                    f"config_schema refers to {reference!a}, which it does not have."
                ) from error
    try:
        Draft202012Validator(schema).is_valid({})
    except RecursionError as error:
        raise ManifestRejected("config_schema refers to itself without end.") from error


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every table in a value that passed `check_json`, whose depth is bounded."""
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _tables(inner)
