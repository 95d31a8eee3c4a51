"""The AsyncAPI document: official, current, and strict enough to tell a wrong message."""

import copy
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft7Validator
from tests.support.documented import problems

from stella_contracts.messages import (
    DATA_OF_TYPE,
    Command,
    DiscoverPlugins,
    Event,
    EventType,
    IntegrationChange,
    Reply,
)
from stella_runtime.messaging.asyncapi import document, text
from stella_runtime.messaging.topology import COMMANDS, DISCOVER, EVENTS

COMMITTED = Path("docs/asyncapi.json")
OFFICIAL = Draft7Validator(
    json.loads((Path(__file__).parent / "asyncapi-3.0.0.schema.json").read_text())
)
ID = UUID(int=7)
CHANGE = IntegrationChange(integration_id=ID, provider_type="harbor", name="eu", version=3)


def created() -> dict[str, Any]:
    event = Event.of(ID, EventType.INTEGRATION_CREATED, CHANGE, service="api", tenant_id="acme")
    found: dict[str, Any] = json.loads(event.to_json())
    return found


def wrong(event: dict[str, Any], key: str = "integration.created.harbor.acme") -> list[str]:
    return problems(EVENTS, key, json.dumps(event).encode())


def test_the_committed_document_is_current() -> None:
    assert COMMITTED.read_text() == text(), (
        f"To pass: python -m stella_runtime.messaging.asyncapi > {COMMITTED}"
    )


def test_it_is_asyncapi_3() -> None:
    assert [error.message for error in OFFICIAL.iter_errors(document())] == []


@pytest.mark.parametrize("part", ["info", "channels", "operations", "components"])
def test_the_official_schema_looks_into_each_part(part: str) -> None:
    broken = copy.deepcopy(document())
    name = next(iter(broken[part]))
    broken[part][name] = 1

    assert not OFFICIAL.is_valid(broken)


def test_every_reference_leads_somewhere() -> None:
    whole = document()

    def follow(node: Any) -> None:
        if isinstance(node, list):
            for each in node:
                follow(each)
        elif isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                place = whole
                for key in node["$ref"].removeprefix("#/").split("/"):
                    place = place[key]
            for each in node.values():
                follow(each)

    follow(whole)


def test_it_has_every_event_command_and_reply() -> None:
    expected = {each.value for each in EventType} | {
        each.__name__ for base in (Command, Reply) for each in base.__subclasses__()
    }

    assert document()["components"]["messages"].keys() == expected


@pytest.mark.parametrize("event_type", EventType)
def test_an_events_data_is_described_by_its_class(event_type: EventType) -> None:
    payload = document()["components"]["messages"][event_type]["payload"]["properties"]

    assert payload["type"] == {"const": event_type}
    assert payload["data"]["$ref"].endswith(f"/{DATA_OF_TYPE[event_type].__name__}")


def test_a_message_of_ours_is_as_described() -> None:
    scan = DiscoverPlugins(scan_id=ID, request_id="r")

    assert wrong(created()) == []
    assert problems(COMMANDS, DISCOVER, scan.model_dump_json().encode()) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        pytest.param({"type": "integration.renamed"}, "integration.renamed", id="unknown event"),
        pytest.param({"region": "eu"}, "region", id="undocumented field"),
        pytest.param({"time": "yesterday"}, "/time", id="time"),
        pytest.param({"data": {}}, "/data", id="no data"),
        pytest.param({"data": created()["data"] | {"x": 1}}, "/data", id="undocumented data"),
        pytest.param({"data": created()["data"] | {"version": "3"}}, "/data/version", id="text"),
    ],
)
def test_a_message_that_is_not_as_described_is_told(change: dict[str, Any], place: str) -> None:
    found = wrong(created() | change)

    assert found
    assert all(place in problem for problem in found)


def test_a_message_under_another_routing_key_is_told() -> None:
    (problem,) = wrong(created(), key="integration.created.acme")

    assert "routing key" in problem
