"""
Another tenant's things are as if they did not exist.

Generated from the description of the API: an operation, parameter or field of an id is tried
the day it appears. What stands for a new parameter of a path is said in `support/tenants.py`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.support.api import ANY_VERSION, UNKNOWN_ID, Hub, registered
from tests.support.builders import a_registration
from tests.support.described import Operation, operations
from tests.support.tenants import CANARY, SHARED, Owner, rows_of

Answer = tuple[int, str, tuple[tuple[str, str], ...]]

ANOTHER_ID = UUID("01980000-0000-7000-8000-000000000001")
"""Unknown as well."""

PER_REQUEST = {"x-request-id", "ratelimit", "content-length"}
"""Headers that differ between any two answers."""


@pytest.fixture
def described(hub: Hub) -> list[Operation]:
    return operations(hub.application)


@pytest.fixture
async def owner(hub: Hub, described: list[Operation]) -> Owner:
    found = Owner(hub, hub.client())
    await found.settle()
    await found.read_pages(described)
    return found


@pytest.fixture(autouse=True)
def _nothing_of_the_owner_is_changed(owner: Owner, database_url: str) -> Iterator[None]:
    before = rows_of(database_url, "acme")
    assert {"integrations", "webhooks", "mutes", "audit_logs", "outbox"} <= before.keys()

    yield

    assert rows_of(database_url, "acme") == before


@dataclass
class Stranger:
    """Bob of the tenant `globex`, who may do everything there."""

    api: httpx.AsyncClient

    async def call(
        self, operation: Operation, path: str, *, instead: str = "", **given: Any
    ) -> Answer:
        """
        What is answered, without what differs between any two: the request's id, and `instead`.

        `params`, `headers` and `body` are what is sent; else the example of the description.
        """
        headers = {"Content-Type": operation.media_type} | given.get("headers", {})
        if "if-match" in operation.named("header"):
            headers |= ANY_VERSION
        params = {"follow": "false"} if "follow" in operation.named("query") else {}
        body = given.get("body", operation.body)
        answer = await self.api.request(
            operation.method,
            path,
            params=params | given.get("params", {}),
            headers=headers,
            content=body if body is None or isinstance(body, str) else json.dumps(body),
        )
        text = answer.text.replace(answer.headers["x-request-id"], "REQUEST")
        # Of a stream of events: when to come back is drawn, and where it stands is anybody's.
        text = re.sub(r"(?m)^(retry|id): .*$", r"\1: …", text)
        rest = tuple(
            sorted((n, v) for n, v in answer.headers.items() if n.lower() not in PER_REQUEST)
        )
        return (
            answer.status_code,
            text.replace(instead, "ID") if instead else text,
            tuple((n, v.replace(instead, "ID") if instead else v) for n, v in rest),
        )


@pytest.fixture
async def stranger(hub: Hub) -> Stranger:
    return Stranger(hub.client(tenant="globex", sub="bob"))


def private_names(operation: Operation) -> list[str]:
    """The parameters of its path that name something of a tenant."""
    return [
        p["name"] for p in operation.parameters if p["in"] == "path" and p["name"] not in SHARED
    ]


def differing(found: dict[str, tuple[Answer, Answer]]) -> dict[str, tuple[Answer, Answer]]:
    """Where the answer about the owner's differs from that about nothing."""
    assert found, "Nothing was tried."
    return {what: both for what, both in found.items() if both[0] != both[1]}


async def test_an_id_in_a_path_is_answered_as_an_unknown_one(
    owner: Owner, stranger: Stranger, described: list[Operation]
) -> None:
    found, statuses = {}, {}
    for operation in described:
        for name in private_names(operation):
            assert name in owner.ids, f"Say in support/tenants.py what of the owner's is {name}."
            theirs = owner.ids[name]
            rest = {other: str(ANOTHER_ID) for other in private_names(operation) if other != name}
            for others in ({}, rest):
                answers = [
                    await stranger.call(
                        operation, owner.path_of(operation, others | {name: each}), instead=each
                    )
                    for each in (theirs, str(UNKNOWN_ID))
                ]
                what = f"{operation} by {name}, the rest {'unknown' if others else 'theirs'}"
                found[what] = (answers[0], answers[1])
                statuses[what] = answers[0][0]

    assert differing(found) == {}
    assert {what: status for what, status in statuses.items() if status != 404} == {}


async def test_what_is_below_something_of_ones_own_is_unknown_too(
    hub: Hub, owner: Owner, stranger: Stranger, described: list[Operation]
) -> None:
    """One's own integration with another tenant's check, one's own webhook with a delivery."""
    mine = Owner(hub, stranger.api)
    await mine.settle()
    found = {}
    for operation in described:
        *above, last = private_names(operation) or [""]
        if above:
            ids = {name: mine.ids[name] for name in above}
            answers = [
                await stranger.call(
                    operation, owner.path_of(operation, ids | {last: each}), instead=each
                )
                for each in (owner.ids[last], str(UNKNOWN_ID))
            ]
            found[str(operation)] = (answers[0], answers[1])

    assert differing(found) == {}
    assert {both[0][0] for both in found.values()} == {404}


async def test_an_id_in_a_query_or_a_body_is_answered_as_an_unknown_one(
    owner: Owner, stranger: Stranger, described: list[Operation]
) -> None:
    found = {}
    for operation in described:
        if private_names(operation):
            continue
        for name in operation.ids_of("query"):
            answers = [
                await stranger.call(operation, owner.path_of(operation, {}), params={name: each})
                for each in (owner.ids["integration_id"], str(UNKNOWN_ID))
            ]
            found[f"{operation} ?{name}"] = (answers[0], answers[1])
        for name in operation.id_fields:
            answers = [
                await stranger.call(
                    operation,
                    owner.path_of(operation, {}),
                    body=operation.body | {name: each},
                    instead=each,
                )
                for each in (owner.ids["integration_id"], str(UNKNOWN_ID))
            ]
            found[f"{operation} /{name}"] = (answers[0], answers[1])

    assert differing(found) == {}


async def test_a_cursor_is_answered_as_one_that_was_never_given(
    hub: Hub, owner: Owner, stranger: Stranger, described: list[Operation]
) -> None:
    mine = Owner(hub, stranger.api)
    await mine.settle()
    found, missing = {}, []
    for operation in described:
        if "cursor" not in operation.named("query"):
            continue
        cursor = owner.cursors[str(operation)]
        if cursor is None:
            missing.append(str(operation))
            continue
        forged = cursor[:-4] + ("AAAA" if cursor[-4:] != "AAAA" else "BBBB")
        answers = [
            await stranger.call(
                operation, mine.path_of(operation, {}), params={"limit": 1, "cursor": each}
            )
            for each in (cursor, forged)
        ]
        found[str(operation)] = (answers[0], answers[1])

    assert not missing, f"Give the owner two of what these list, in support/tenants.py: {missing}"
    assert differing(found) == {}
    assert {both[0][0] for both in found.values()} == {400}


async def test_an_event_id_is_answered_as_one_that_was_never_given(
    owner: Owner, stranger: Stranger, described: list[Operation]
) -> None:
    found = {}
    for operation in described:
        named = operation.named("header") | operation.named("query")
        for name in {"last-event-id", "lasteventid"} & named.keys():
            place = "headers" if named[name]["in"] == "header" else "params"
            given: list[Any] = [
                {place: {named[name]["name"]: each}}
                for each in (owner.event_id, owner.event_id[:-4] + "AAAA")
            ]
            answers = [await stranger.call(operation, operation.path, **each) for each in given]
            found[f"{operation} {name}"] = (answers[0], answers[1])

    assert len(found) == 2
    assert differing(found) == {}


async def test_an_idempotency_key_is_another_one(
    owner: Owner, stranger: Stranger, described: list[Operation]
) -> None:
    tried = 0
    for operation in described:
        if "idempotency-key" not in operation.named("header"):
            continue
        tried += 1
        same = owner.registration if operation.path == "/integrations" else operation.body
        for body in (same, operation.body):
            status, text, _ = await stranger.call(
                operation,
                operation.path,
                headers={"Idempotency-Key": owner.idempotency_key},
                body=body,
            )
            assert status < 500
            assert owner.ids["integration_id"] not in text
            if body is same:
                assert status == 201, text

    assert tried


SEARCHES = {"q": CANARY, "tag": CANARY, "actor": "alice", "type": "registry", "status": "unknown"}


async def test_no_answer_has_anything_of_the_owners(
    owner: Owner, stranger: Stranger, described: list[Operation]
) -> None:
    """Whatever is listed, counted or searched: with each filter that would find the owner's."""
    hidden = {CANARY, "acme", *owner.every_id}
    leaking = {}
    # The audit log first: afterwards it tells the stranger what the stranger has searched for.
    for operation in sorted(described, key=lambda each: "audit" not in each.path):
        if private_names(operation):
            continue
        filters = [n for n in SEARCHES if n in operation.named("query")]
        for chosen in [[], *([name] for name in filters)]:
            params = {name: SEARCHES[name] for name in chosen}
            if operation.path == "/events":
                params = {"from": "2020-01-01T00:00:00Z"}
            status, text, headers = await stranger.call(
                operation, owner.path_of(operation, {}), params=params
            )
            assert status < 500, f"{operation}: {text}"
            told = [each for each in hidden if each in text or each in str(headers)]
            if told:
                leaking[f"{operation} {params}"] = told

    assert leaking == {}


@pytest.mark.parametrize("count", [0, 3])
async def test_a_listing_is_no_longer_for_what_others_have(
    owner: Owner, stranger: Stranger, count: int
) -> None:
    """Pages are filled with one's own: nobody's rows are counted and then left out."""
    mine = {(await registered(stranger.api, name=f"mine-{n}"))["id"] for n in range(count)}

    page = (await stranger.api.get("/integrations", params={"limit": 3})).json()

    assert {each["id"] for each in page["items"]} == mine
    assert page["nextCursor"] is None


def test_ids_are_those_of_the_description(described: list[Operation]) -> None:
    """The tests above find something to try."""
    assert any(operation.ids_of("query") for operation in described)
    assert any(operation.id_fields for operation in described)


async def test_a_name_that_another_tenant_has_is_free(owner: Owner, stranger: Stranger) -> None:
    answer = await stranger.api.post("/integrations", json=a_registration(name=CANARY))

    assert answer.status_code == 201
