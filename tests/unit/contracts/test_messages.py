"""Events as they cross the bus."""

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.integrations import PROVIDER_TYPE_PATTERN, TENANT_PATTERN
from stella_contracts.messages import (
    DATA_OF_TYPE,
    NO_TENANT,
    Event,
    EventType,
    IntegrationChange,
    PluginChange,
)

ID = UUID(int=7)
CHANGE = IntegrationChange(integration_id=ID, provider_type="harbor", name="eu", version=3)
REMOVED = PluginChange(plugin_id="acme", provider_type=None, version=None, state="removed")


def created(tenant_id: str = "acme", change: IntegrationChange = CHANGE) -> Event:
    return Event.of(ID, EventType.INTEGRATION_CREATED, change, service="api", tenant_id=tenant_id)


def test_event_is_a_cloud_event() -> None:
    sent = json.loads(created().to_json())

    assert sent.pop("time").endswith("Z")
    assert sent == {
        "specversion": "1.0",
        "id": str(ID),
        "source": "/stella/integrations/api",
        "type": "integration.created",
        "subject": str(ID),
        "tenantid": "acme",
        "datacontenttype": "application/json",
        "data": {
            "integrationId": str(ID),
            "providerType": "harbor",
            "name": "eu",
            "version": 3,
            "changed": [],
        },
    }


def test_event_survives_the_bus() -> None:
    event = created()

    assert Event.model_validate_json(event.to_json()) == event


def test_reader_ignores_fields_it_does_not_know() -> None:
    event = created()
    newer = json.loads(event.to_json()) | {"dataschema": "https://x.test", "region": "eu"}

    assert Event.model_validate(newer) == event


def test_data_is_of_the_class_that_its_type_names() -> None:
    event = created()

    assert DATA_OF_TYPE[event.type].model_validate(event.data) == CHANGE
    assert DATA_OF_TYPE.keys() == set(EventType)


@pytest.mark.parametrize(
    ("event", "key"),
    [
        pytest.param(created(), "integration.created.harbor.acme", id="of a tenant"),
        pytest.param(
            Event.of(ID, EventType.PLUGIN_REMOVED, REMOVED, service="discovery"),
            "plugin.removed._none._system",
            id="of the installation, with no type",
        ),
    ],
)
def test_routing_key_is_event_type_and_tenant(event: Event, key: str) -> None:
    assert event.routing_key == key


@given(
    st.sampled_from(EventType),
    st.from_regex(PROVIDER_TYPE_PATTERN, fullmatch=True).filter(lambda each: len(each) <= 64),
    st.from_regex(TENANT_PATTERN, fullmatch=True),
)
def test_routing_key_can_be_told_apart_and_fits(
    event_type: EventType, provider_type: str, tenant_id: str
) -> None:
    change = CHANGE.model_copy(update={"provider_type": provider_type})

    key = Event.of(ID, event_type, change, service="api", tenant_id=tenant_id).routing_key

    assert key.rsplit(".", 2) == [event_type, provider_type, tenant_id]
    assert len(key.encode()) <= 255
    assert tenant_id != NO_TENANT
