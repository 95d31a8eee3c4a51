"""What is published in tests is what the AsyncAPI document describes."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import psycopg
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from stella_runtime.messaging.asyncapi import REPLY_CHANNEL, document
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.in_process import InProcessBus
from stella_runtime.messaging.topology import EVENTS, REPLIES

INVENTED = "invented_messages"
"""The marker of a test that puts messages of its own making into the outbox."""


def problems(exchange: str, routing_key: str, body: bytes) -> list[str]:
    """What is wrong with a message, by the document; each with the message's kind and place."""
    try:
        content = json.loads(body)
    except ValueError:
        return [f"{routing_key}: it is no JSON."]
    if exchange == EVENTS:
        channel = str(content.get("type"))
    else:
        channel = REPLY_CHANNEL if exchange == REPLIES else routing_key
    described = document_of_today()["channels"].get(channel)
    if described is None:
        return [f"{channel}: the document has no such channel."]
    found = []
    if not re.fullmatch(_pattern(described["address"]), routing_key):
        found.append(f"{channel}: its routing key is {routing_key}, not {described['address']}.")
    complaints = [
        [
            f"{channel} at /{'/'.join(map(str, error.absolute_path))}: {error.message[:200]}"
            for error in _validator(name).iter_errors(content)
        ]
        for name in described["messages"]
    ]
    return found + min(complaints, key=len)


def problems_of_outbox(database_url: str) -> list[str]:
    """What is wrong with the messages that a test's database has been given to publish."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select exchange, routing_key, body from outbox").fetchall()
    return [problem for row in rows for problem in problems(*row)]


class DocumentedBus(InProcessBus):
    """A bus that takes note of what the document does not describe."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []

    async def publish(self, message: Message) -> None:
        self.problems += problems(message.exchange, message.routing_key, message.body)
        await super().publish(message)


@cache
def document_of_today() -> dict[str, Any]:
    return document()


@cache
def _validator(message: str) -> Validator:
    components = _closed(document_of_today()["components"])
    payload = components["messages"][message]["payload"]
    return Draft202012Validator(
        {**payload, "components": components},
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )


def _closed(schema: Any) -> Any:
    """Refuses the fields that it does not name: readers ignore them, we must not send them."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        closed.setdefault("additionalProperties", False)
    return closed


def _pattern(address: str) -> str:
    return "".join(_parts(address))


def _parts(address: str) -> Iterator[str]:
    for part in re.split(r"(\{\w+\})", address):
        yield r"[^.]+" if part.startswith("{") else re.escape(part)
