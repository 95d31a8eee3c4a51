"""The description of the API: valid, complete, and with examples that are true."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from stella_api.app import Api
from stella_api.examples import CREATE_BODIES, UPDATE_BODIES
from stella_api.settings import ApiSettings
from stella_contracts.integrations import IntegrationCreate, IntegrationUpdate
from stella_runtime.messaging.in_process import InProcessBus
from stella_runtime.persistence import Database, open_engine
from stella_runtime.telemetry.metrics import Metrics

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"

DOCUMENTED = {
    ("GET", "/api/v1/integrations"),
    ("POST", "/api/v1/integrations"),
    ("POST", "/api/v1/integrations/test"),
    ("POST", "/api/v1/integrations/import"),
    ("GET", "/api/v1/integrations/export"),
    ("GET", "/api/v1/integrations/by-type/{provider_type}"),
    ("GET", "/api/v1/integrations/{integration_id}"),
    ("PUT", "/api/v1/integrations/{integration_id}"),
    ("DELETE", "/api/v1/integrations/{integration_id}"),
    ("POST", "/api/v1/integrations/{integration_id}/health-check"),
    ("GET", "/api/v1/integrations/{integration_id}/health"),
    ("GET", "/api/v1/integrations/{integration_id}/transitions"),
    ("GET", "/api/v1/integrations/{integration_id}/health-checks/{check_id}"),
    ("GET", "/api/v1/plugins"),
    ("GET", "/api/v1/plugins/{provider_type}"),
    ("POST", "/api/v1/plugins/discover"),
    ("GET", "/api/v1/audit-logs"),
    ("GET", "/api/v1/audit-logs/verify"),
    ("GET", "/api/v1/audit-logs/export"),
    ("GET", "/api/v1/events"),
    ("GET", "/api/v1/mutes"),
    ("POST", "/api/v1/mutes"),
    ("DELETE", "/api/v1/mutes/{mute_id}"),
    ("GET", "/api/v1/webhooks"),
    ("POST", "/api/v1/webhooks"),
    ("GET", "/api/v1/webhooks/{webhook_id}"),
    ("PUT", "/api/v1/webhooks/{webhook_id}"),
    ("DELETE", "/api/v1/webhooks/{webhook_id}"),
    ("POST", "/api/v1/webhooks/{webhook_id}/test"),
    ("POST", "/api/v1/webhooks/{webhook_id}/replay"),
    ("GET", "/api/v1/webhooks/{webhook_id}/deliveries"),
    ("GET", "/api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}"),
    ("POST", "/api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay"),
}


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    """Built without a database or a bus: describing needs neither."""
    settings = ApiSettings(
        environment="embedded",
        database_url=NOWHERE,
        amqp_url="amqp://nowhere",
        jwks_url="http://127.0.0.1:1/jwks",
        issuer="x",
        audience="x",
    )
    database = Database(open_engine(NOWHERE, pool_size=1, application="tests"))
    found = Api(settings, database, InProcessBus(), Metrics()).application.openapi()
    read: dict[str, Any] = json.loads(json.dumps(found))
    return read


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def media(description: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every kind of content that is sent or taken, with where it is."""
    for method, path, operation in operations(description):
        for kind, content in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{method} {path} {kind}", content
        for status, response in operation["responses"].items():
            for kind, content in response.get("content", {}).items():
                yield f"{method} {path} {status} {kind}", content


def breaks(description: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    """What is wrong with a value, by a schema of the description."""
    whole = schema | {"components": description["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


def test_it_is_valid_openapi_3_1(description: dict[str, Any]) -> None:
    validate(description)

    assert description["openapi"].startswith("3.1")


def test_it_has_every_route(description: dict[str, Any]) -> None:
    assert {(method, path) for method, path, _ in operations(description)} == DOCUMENTED


def test_operations_have_names_of_their_own(description: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(description)]

    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


def test_every_operation_needs_a_bearer_token(description: dict[str, Any]) -> None:
    (scheme,) = description["components"]["securitySchemes"].values()

    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert all(operation["security"] for _, _, operation in operations(description))


def test_every_error_is_a_problem_with_an_example_of_each_code(
    description: dict[str, Any],
) -> None:
    for method, path, operation in operations(description):
        errors = {s: r for s, r in operation["responses"].items() if int(s) >= 400}

        assert {"401", "403", "500", "503"} <= errors.keys(), f"{method} {path}"
        for status, response in errors.items():
            (kind, content), *_ = response["content"].items()
            assert kind == "application/problem+json", f"{method} {path} {status}"
            for code, example in content["examples"].items():
                assert example["value"]["type"] == f"urn:stella:problem:{code}"
                assert str(example["value"]["status"]) == status


def test_every_example_fits_its_schema(description: dict[str, Any]) -> None:
    wrong = {
        f"{where} {name}": found
        for where, content in media(description)
        for name, example in content.get("examples", {}).items()
        if (found := breaks(description, content["schema"], example["value"]))
    } | {
        name: found
        for name, schema in description["components"]["schemas"].items()
        for example in schema.get("examples", [])
        if (found := breaks(description, schema, example))
    }

    assert wrong == {}


def test_every_success_with_a_body_has_an_example(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]
    without = [
        where
        for where, content in media(description)
        if "examples" not in content
        for name in [content["schema"].get("$ref", "").rpartition("/")[2]]
        if name and not schemas[name].get("examples")
    ]

    assert without == []


@pytest.mark.parametrize("name", CREATE_BODIES)
def test_a_body_that_registers_is_one(name: str) -> None:
    IntegrationCreate.model_validate(CREATE_BODIES[name]["value"])


@pytest.mark.parametrize("name", UPDATE_BODIES)
def test_a_body_that_changes_is_one(name: str) -> None:
    IntegrationUpdate.model_validate(UPDATE_BODIES[name]["value"])
