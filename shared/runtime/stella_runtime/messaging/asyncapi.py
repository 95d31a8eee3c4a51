"""
The AsyncAPI 3 document of every event, command and reply, from the contracts and the topology.

    python -m stella_runtime.messaging.asyncapi > docs/asyncapi.json
"""

import json
import sys
from collections.abc import Iterable, Mapping
from inspect import cleandoc
from typing import Any

from pydantic.json_schema import models_json_schema

from stella_contracts.messages import DATA_OF_TYPE, Command, Event, EventType, Reply
from stella_contracts.model import Answer
from stella_runtime.messaging.topology import COMMANDS, EVENTS, REPLIES, TOPOLOGY

SCHEMAS = "#/components/schemas/"
REPLY_CHANNEL = "replies"

_INFO = {
    "title": "Stella Ops Integrations",
    "version": "1",
    "description": "Events for subscribers, and the commands and replies between our own services."
    " Delivery is at least once: a repetition has the same id. Fields may be added, never renamed.",
    "license": {"name": "Apache-2.0"},
}
_PARAMETERS = {
    "providerType": {
        "description": "The connector, such as `harbor`; `_none` where there is none."
    },
    "tenant": {"description": "The tenant; `_system` for events of the installation."},
}


def document() -> dict[str, Any]:
    """The whole document. What is a subclass of Command or Reply, or an EventType, is in it."""
    commands = _subclasses(Command)
    replies = _subclasses(Reply)
    classes: list[type[Answer]] = [Event, *DATA_OF_TYPE.values(), *commands, *replies]
    _, found = models_json_schema(
        [(each, "serialization") for each in dict.fromkeys(classes)],
        by_alias=True,
        ref_template=SCHEMAS + "{model}",
    )
    schemas: dict[str, Any] = found["$defs"]
    envelope = schemas.pop(Event.__name__)
    schemas.pop(EventType.__name__)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for event_type in EventType:
        data = DATA_OF_TYPE[event_type]
        messages[event_type] = {
            "name": event_type,
            "title": event_type,
            "summary": _summary(data),
            "contentType": "application/cloudevents+json",
            "payload": _event(envelope, event_type, data),
        }
        channels[event_type] = _event_channel(event_type)
        operations[f"publish.{event_type}"] = _operation("send", event_type, [event_type])
    for command in commands:
        messages[command.__name__] = _plain(command)
        channel = channels.setdefault(command.queue, _queue_channel(command.queue))
        channel["messages"] |= _references("messages", [command.__name__])
        operations[f"handle.{command.__name__}"] = _operation(
            "receive", command.queue, [command.__name__]
        )
    for reply in replies:
        messages[reply.__name__] = _plain(reply)
    names = [reply.__name__ for reply in replies]
    channels[REPLY_CHANNEL] = _reply_channel(names)
    operations["reply"] = _operation("send", REPLY_CHANNEL, names)
    return {
        "asyncapi": "3.0.0",
        "info": _INFO,
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def text() -> str:
    """The document as its file has it."""
    return json.dumps(document(), indent=2) + "\n"


def _subclasses(base: type[Any]) -> list[type[Any]]:
    found = base.__subclasses__()
    return [each for direct in found for each in (direct, *_subclasses(direct))]


def _event(envelope: Mapping[str, Any], event_type: EventType, data: type[Answer]) -> Any:
    own = {"type": {"const": event_type}, "data": {"$ref": SCHEMAS + data.__name__}}
    return {**envelope, "title": event_type, "properties": {**envelope["properties"], **own}}


def _plain(message: type[Answer]) -> dict[str, Any]:
    return {
        "name": message.__name__,
        "title": message.__name__,
        "summary": _summary(message),
        "payload": {"$ref": SCHEMAS + message.__name__},
    }


def _summary(message: type[Answer]) -> str:
    return " ".join(cleandoc(message.__doc__ or message.__name__).split())


def _event_channel(event_type: EventType) -> dict[str, Any]:
    return {
        "address": f"{event_type}.{{providerType}}.{{tenant}}",
        "messages": _references("messages", [event_type]),
        "parameters": _PARAMETERS,
        "bindings": _exchange(EVENTS),
    }


def _queue_channel(queue: str) -> dict[str, Any]:
    name = TOPOLOGY.queue(queue).name
    properties = {"name": name, "durable": True, "exclusive": False, "autoDelete": False}
    return {
        "address": name,
        "description": f"Work of our own services, by the exchange {COMMANDS}.",
        "messages": {},
        "bindings": {"amqp": {"is": "queue", "queue": properties, "bindingVersion": "0.3.0"}},
    }


def _reply_channel(names: Iterable[str]) -> dict[str, Any]:
    return {
        "address": "{id}",
        "description": "Answers for whoever waits. Never stored.",
        "messages": _references("messages", names),
        "parameters": {"id": {"description": "What is waited for."}},
        "bindings": _exchange(REPLIES),
    }


def _exchange(name: str) -> dict[str, Any]:
    exchange = TOPOLOGY.exchange(name)
    properties = {
        "name": exchange.name,
        "type": exchange.kind,
        "durable": True,
        "autoDelete": False,
    }
    return {"amqp": {"is": "routingKey", "exchange": properties, "bindingVersion": "0.3.0"}}


def _operation(action: str, channel: str, names: Iterable[str]) -> dict[str, Any]:
    place = f"#/channels/{channel}"
    return {
        "action": action,
        "channel": {"$ref": place},
        "messages": [{"$ref": f"{place}/messages/{name}"} for name in names],
    }


def _references(kind: str, names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/{kind}/{name}"} for name in names}


if __name__ == "__main__":
    sys.stdout.write(text())
