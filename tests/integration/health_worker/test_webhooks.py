"""Webhooks on the wire: signed, once, in order, retried, and one endpoint never delays another."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from starlette.responses import RedirectResponse, Response
from tests.support.catalog import TENANT, announced
from tests.support.events import report
from tests.support.traces import Traces
from tests.support.webhooks import (
    IMPATIENT,
    KEY,
    QUICK,
    Receiver,
    Vault,
    delivering,
    hook,
    log_of,
    receiving,
    state_of,
    until,
)

from stella_contracts.webhooks import (
    Delivery,
    DeliveryState,
    Webhook,
    WebhookStatus,
    WebhookUpdate,
)
from stella_health_worker.webhooks.rules import Rules
from stella_runtime.ids import new_id
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.in_process import InProcessBus
from stella_runtime.messaging.topology import EVENTS
from stella_runtime.persistence import Database
from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.metrics import Metrics

OTHER = "globex"
PATIENT = Rules()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


async def finished(database: Database, webhook_id: UUID, count: int = 1) -> list[Delivery]:
    """The log once so many deliveries have ended."""
    while True:
        found = await log_of(database, webhook_id)
        ended = [each for each in found if each.state is not DeliveryState.PENDING]
        if len(ended) >= count:
            return found
        await asyncio.sleep(0.01)


async def tried(database: Database, webhook_id: UUID, count: int = 1) -> Delivery:
    """The only delivery once it was tried so often."""
    while True:
        found = await log_of(database, webhook_id)
        if found and len(found[0].attempts) >= count:
            return found[0]
        await asyncio.sleep(0.01)


async def disabled_one(database: Database, webhook_id: UUID) -> Webhook:
    """The endpoint once we have disabled it."""
    while True:
        found = await state_of(database, webhook_id)
        if found.disabled_reason is not None:
            return found
        await asyncio.sleep(0.01)


async def events_of(database: Database) -> list[tuple[str, dict[str, Any]]]:
    return [
        (each.event, each.body["data"])
        for each in await announced(database)
        if each.event.startswith("webhook.")
    ]


async def test_an_event_arrives_signed_with_the_key_that_the_vault_holds(
    database: Database, receiver: Receiver
) -> None:
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "registry-eu")
    async with delivering(database):
        [delivery] = await finished(database, endpoint.id)

    [received] = receiver.accepted["/a"]
    assert received.event["type"] == "integration.created"
    assert received.event["tenantid"] == TENANT
    assert received.id == received.event["id"] == str(delivery.event_id)
    assert received.headers["content-type"].startswith("application/cloudevents+json")
    assert delivery.state is DeliveryState.DELIVERED
    assert [each.status_code for each in delivery.attempts] == [204]
    assert (await state_of(database, endpoint.id)).last_success_at is not None


def has_accepted(receiver: Receiver, count: int) -> bool:
    return len(receiver.accepted["/a"]) == count


async def test_an_event_is_heard_of_on_the_bus_and_waits_for_no_poll(
    database: Database, receiver: Receiver
) -> None:
    await hook(database, f"{receiver.url}/a")
    async with (
        InProcessBus() as bus,
        delivering(database, limits=replace(QUICK, poll_seconds=3600), bus=bus),
    ):
        for number in range(3):
            await report(database, f"registry-{number}")
            # As the relay of whichever process has committed it.
            key = f"integration.created.harbor.{TENANT}"
            await bus.publish(Message(str(new_id()), EVENTS, key, b"{}"))
            await until(partial(has_accepted, receiver, number + 1))


async def test_a_delivery_is_a_step_of_the_trace_that_the_event_names(
    database: Database, receiver: Receiver, traces: Traces
) -> None:
    await hook(database, f"{receiver.url}/a")
    with tracing.new_trace("a change"):
        await report(database, "registry-eu")
    async with delivering(database):
        await until(lambda: bool(traces.named("deliver webhook")))

    [post] = traces.named("POST")
    assert traces.path(post) == ["a change", "deliver webhook", "POST"]


async def test_while_a_key_is_changed_a_receiver_may_know_either(
    database: Database, receiver: Receiver
) -> None:
    new_key = "whsec_" + base64.b64encode(b"the next key for tests, 32 bytes").decode()
    receiver.keys = [KEY, new_key]
    endpoint = await hook(database, f"{receiver.url}/a", auth_ref_uri="authref://vault/hooks")
    await report(database, "registry-eu")
    async with delivering(database, vault=Vault(KEY, new_key)):
        [delivery] = await finished(database, endpoint.id)

    assert delivery.state is DeliveryState.DELIVERED


async def test_only_the_types_asked_for_and_the_tenants_own_are_sent(
    database: Database, receiver: Receiver
) -> None:
    ours = await hook(database, f"{receiver.url}/ours", event_types=["integration.created"])
    await hook(database, f"{receiver.url}/none", event_types=["integration.alert"])
    await hook(database, f"{receiver.url}/off", enabled=False)
    await hook(database, f"{receiver.url}/theirs", tenant=OTHER)
    await report(database, "a")
    await report(database, "b", tenant=OTHER)
    async with delivering(database):
        await finished(database, ours.id)
        await until(lambda: receiver.names("/theirs") == ["b"])

    assert dict(receiver.calls.items()).keys() == {"/ours", "/theirs"}
    assert receiver.names("/ours") == ["a"]


async def test_what_fails_is_tried_again_with_the_same_id_and_keeps_its_order(
    database: Database, receiver: Receiver
) -> None:
    receiver.answers("/a", 500, 503, 204)
    subject = new_id()
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "first", "second", integration_id=subject)
    async with delivering(database):
        log = await finished(database, endpoint.id, 2)

    first = next(each for each in log if len(each.attempts) == 3)
    assert [each.error for each in first.attempts] == ["HTTP 500", "HTTP 503", None]
    assert [each.id for each in receiver.calls["/a"][:3]] == [str(first.event_id)] * 3
    assert receiver.names("/a") == ["first", "second"]
    after = await state_of(database, endpoint.id)
    assert (after.status, after.consecutive_failures) == (WebhookStatus.ACTIVE, 0)


async def test_a_delivery_is_given_up_after_its_last_try_and_the_next_one_goes_on(
    database: Database, receiver: Receiver
) -> None:
    rules = replace(IMPATIENT, retry_seconds=[0.01, 0.01])
    receiver.answers("/a", 500, 500, 500, 204)
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "poison", "fine", integration_id=new_id())
    async with delivering(database, rules=rules):
        log = await finished(database, endpoint.id, 2)

    assert sorted((each.state, each.tries) for each in log) == [
        (DeliveryState.DELIVERED, 1),
        (DeliveryState.FAILED, 3),
    ]
    assert receiver.names("/a") == ["fine"]


async def test_a_redirect_is_not_followed(database: Database, receiver: Receiver) -> None:
    receiver.answers("/a", RedirectResponse(f"{receiver.url}/b", status_code=307))
    receiver.answers("/c", RedirectResponse("http://169.254.169.254/latest", status_code=302))
    endpoint = await hook(database, f"{receiver.url}/a")
    other = await hook(database, f"{receiver.url}/c")
    await report(database, "x")
    async with delivering(database, rules=PATIENT):
        seen = [await tried(database, each.id) for each in (endpoint, other)]

    assert [each.attempts[0].status_code for each in seen] == [307, 302]
    assert all("Redirects are not followed" in str(each.attempts[0].error) for each in seen)
    assert receiver.calls["/b"] == []


async def test_an_address_that_the_guard_forbids_is_never_called(
    database: Database, receiver: Receiver
) -> None:
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "x")
    async with delivering(database, rules=PATIENT, allow="10.0.0.0/8"):
        delivery = await tried(database, endpoint.id)

    assert str(delivery.attempts[0].error).startswith("blocked_by_policy")
    assert receiver.calls["/a"] == []


async def test_retry_after_is_waited_for(database: Database, receiver: Receiver) -> None:
    receiver.answers("/a", Response(status_code=429, headers={"Retry-After": "1800"}))
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "x")
    async with delivering(database):
        delivery = await tried(database, endpoint.id)

    assert delivery.next_attempt_at is not None
    assert delivery.next_attempt_at - delivery.attempts[0].at >= timedelta(seconds=1800)


async def test_410_disables_at_once_and_for_good(database: Database, receiver: Receiver) -> None:
    receiver.answers("/a", 410)
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "x", "y")
    async with delivering(database):
        await disabled_one(database, endpoint.id)
        await report(database, "z")
        other = await hook(database, f"{receiver.url}/b")
        await report(database, "later")
        await finished(database, other.id)

    after = await state_of(database, endpoint.id)
    assert (after.status, after.disabled_reason) == (WebhookStatus.DISABLED, "gone")
    assert after.next_trial_at is None
    assert len(receiver.calls["/a"]) == 1
    [(event, data)] = await events_of(database)
    assert (event, data["reason"]) == ("webhook.disabled", "gone")
    assert data["webhookId"] == str(endpoint.id)


async def test_a_dead_endpoint_is_disabled_tried_daily_and_heals(
    database: Database, receiver: Receiver
) -> None:
    rules = replace(IMPATIENT, disable_failures=3, disable_age=timedelta())
    receiver.answers("/a", 500)
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "a", "b", integration_id=new_id())
    async with delivering(database, rules=rules):
        disabled = await disabled_one(database, endpoint.id)
        await report(database, "c", integration_id=new_id())
        receiver.answers("/a", 204)
        await finished(database, endpoint.id, 3)

    assert disabled.disabled_reason == "failing"
    assert disabled.next_trial_at is not None
    healed = await state_of(database, endpoint.id)
    assert (healed.status, healed.disabled_reason) == (WebhookStatus.ACTIVE, None)
    assert receiver.names("/a") == ["a", "b", "c"]
    assert [(event, data["reason"]) for event, data in await events_of(database)] == [
        ("webhook.disabled", "failing"),
        ("webhook.enabled", "recovered"),
    ]


async def test_a_disabled_endpoint_is_left_alone_until_its_trial(
    database: Database, receiver: Receiver
) -> None:
    rules = replace(
        IMPATIENT, disable_failures=2, disable_age=timedelta(), trial_every=timedelta(days=1)
    )
    receiver.answers("/a", 500)
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "a")
    async with delivering(database, rules=rules):
        disabled = await disabled_one(database, endpoint.id)
        witness = await hook(database, f"{receiver.url}/b")
        await report(database, "b")
        await finished(database, witness.id)

    assert len(receiver.calls["/a"]) == 2
    assert disabled.next_trial_at is not None
    assert disabled.next_trial_at > datetime.now(UTC) + timedelta(hours=23)


async def test_endpoints_that_hang_delay_no_other(database: Database, receiver: Receiver) -> None:
    limits = replace(QUICK, working=4, failing=1)
    for number in range(6):
        receiver.answers(f"/dead{number}", "hang")
        await hook(database, f"{receiver.url}/dead{number}")
    await report(database, "a")
    async with delivering(database, limits=limits, answer_seconds=0.2, rules=PATIENT):
        await until(lambda: sum(map(len, receiver.calls.values())) == 6)
        live = await hook(database, f"{receiver.url}/live")
        await report(database, *"bcd")
        await finished(database, live.id, 3)

    assert receiver.names("/live") == ["b", "c", "d"]
    assert not any(receiver.accepted[f"/dead{number}"] for number in range(6))


async def test_an_answer_without_end_is_not_read(database: Database, receiver: Receiver) -> None:
    receiver.answers("/a", "endless")
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "a")
    async with delivering(database):
        [delivery] = await finished(database, endpoint.id)

    assert delivery.attempts[0].status_code == 200


async def test_a_vault_that_is_away_is_no_fault_of_the_endpoint(
    database: Database, receiver: Receiver
) -> None:
    vault = Vault()
    vault.is_away = True
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "a")
    async with delivering(database, vault=vault, rules=IMPATIENT):
        seen = await tried(database, endpoint.id)
        during = await state_of(database, endpoint.id)
        vault.is_away = False
        await finished(database, endpoint.id)

    assert seen.attempts[0].error == "secret_unresolvable: The vault is away."
    assert (during.consecutive_failures, during.status) == (0, WebhookStatus.ACTIVE)
    assert receiver.names("/a") == ["a"]


@pytest.mark.parametrize(
    "key",
    [pytest.param("no base64!", id="no base64"), pytest.param("whsec_c2hvcnQ=", id="short")],
)
async def test_a_key_that_cannot_sign_sends_nothing_and_is_not_repeated(
    database: Database, receiver: Receiver, key: str
) -> None:
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "a")
    async with delivering(database, vault=Vault(key), rules=PATIENT):
        delivery = await tried(database, endpoint.id)

    assert str(delivery.attempts[0].error).startswith("secret_unresolvable: The signing key")
    assert key not in delivery.model_dump_json()
    assert receiver.calls["/a"] == []


async def test_two_workers_send_each_event_once_in_order_and_one_at_a_time(
    database: Database, receiver: Receiver
) -> None:
    endpoints = [await hook(database, f"{receiver.url}/{name}") for name in "ab"]
    subjects = [new_id() for _ in range(5)]
    metrics = Metrics()
    async with delivering(database, metrics=metrics), delivering(database, metrics=metrics):
        for number in range(20):
            for subject in subjects:
                await report(database, f"{subject}-{number:02}", integration_id=subject)
        for endpoint in endpoints:
            await finished(database, endpoint.id, 100)

    for path in ("/a", "/b"):
        names = receiver.names(path)
        assert len(names) == len(set(names)) == 100
        for subject in subjects:
            own = [name for name in names if name.startswith(str(subject))]
            assert own == sorted(own)
        assert receiver.most_in_flight[path] == 1
    assert b'outcome="delivered"} 200.0' in metrics.exposition()


async def test_what_a_dead_worker_had_taken_is_delivered_by_another(
    database: Database, receiver: Receiver, database_url: str
) -> None:
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "a")
    async with database.system_transaction() as transaction:
        await transaction.webhook_queue.fill(limit=10, most_waiting=10)
    async with database.system_transaction() as transaction:
        [lease] = await transaction.webhooks.claim(10, lease=timedelta(minutes=5), failing=False)
        second = await transaction.webhooks.claim(10, lease=timedelta(minutes=5), failing=False)
    with psycopg.connect(database_url) as connection:
        connection.execute("update webhook_state set leased_until = now() - interval '1 s'")
    async with delivering(database):
        await finished(database, endpoint.id)
    async with database.system_transaction() as transaction:
        late = await transaction.webhooks.find_next(lease, hold=timedelta(minutes=5))

    assert second == []
    assert receiver.names("/a") == ["a"]
    assert late is None


async def test_stopping_finishes_the_try_that_runs_and_gives_the_endpoint_back(
    database: Database, receiver: Receiver
) -> None:
    receiver.answers("/a", "hang")
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "a", "b", integration_id=new_id())
    async with delivering(database) as task:
        await until(lambda: receiver.in_flight["/a"] == 1)
        task.cancel()
        receiver.go_on.set()
        await asyncio.wait([task])
    async with database.system_transaction() as transaction:
        taken = await transaction.webhooks.claim(10, lease=timedelta(minutes=5), failing=False)

    assert receiver.names("/a") == ["a"]
    assert [each.state for each in await log_of(database, endpoint.id)] == [
        DeliveryState.DELIVERED,
        DeliveryState.PENDING,
    ]
    assert [each.webhook_id for each in taken] == [endpoint.id]


async def test_who_is_paused_gets_what_waited_when_it_is_enabled_again(
    database: Database, receiver: Receiver
) -> None:
    receiver.answers("/a", 500)
    endpoint = await hook(database, f"{receiver.url}/a")
    await report(database, "a")
    async with delivering(database, rules=PATIENT):
        await tried(database, endpoint.id)
        async with database.transaction(TENANT) as transaction:
            row = await transaction.webhooks.lock(endpoint.id, None)
            await transaction.webhooks.change(row, WebhookUpdate(enabled=False).changes)
            await transaction.webhook_deliveries.replay(
                endpoint.id, (await log_of(database, endpoint.id))[0].id
            )
            await transaction.webhooks.enable(endpoint.id)
        witness = await hook(database, f"{receiver.url}/b")
        await report(database, "b")
        await finished(database, witness.id)
        calls_while_paused = len(receiver.calls["/a"])
        receiver.answers("/a", 204)
        async with database.transaction(TENANT) as transaction:
            row = await transaction.webhooks.lock(endpoint.id, None)
            await transaction.webhooks.change(row, WebhookUpdate(enabled=True).changes)
        await finished(database, endpoint.id)

    assert calls_while_paused == 1
    assert receiver.names("/a") == ["a"]
