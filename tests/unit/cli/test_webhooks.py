"""`stella webhooks list|create|update|delete|deliveries|replay|test`."""

import json
from typing import Any

import pytest
from tests.unit.cli.hub import Hub, Shell, a_page, a_problem, ok

HOOK = "01980000-0000-7000-8000-00000000b001"
DELIVERY = "01980000-0000-7000-8000-00000000d001"


def a_webhook(**fields: Any) -> dict[str, Any]:
    return {
        "id": HOOK,
        "url": "https://pager.test/hooks",
        "eventTypes": ["integration.alert"],
        "enabled": True,
        "authRefUri": "authref://vault/hooks#key",
        "status": "active",
        "consecutiveFailures": 0,
        "lastError": "HTTP 500",
        "createdAt": "2026-11-24T10:00:00Z",
        "updatedAt": "2026-11-24T10:00:00Z",
        "version": 1,
    } | fields


def a_delivery(**fields: Any) -> dict[str, Any]:
    return {
        "id": DELIVERY,
        "webhookId": HOOK,
        "eventId": "01980000-0000-7000-8000-00000000f001",
        "eventType": "integration.created",
        "subject": "x",
        "state": "pending",
        "tries": 1,
        "attempts": [
            {"at": "2026-11-24T11:00:00Z", "statusCode": 500, "error": "HTTP 500", "latencyMs": 7}
        ],
        "nextAttemptAt": "2026-11-24T11:00:05Z",
        "createdAt": "2026-11-24T11:00:00Z",
    } | fields


def test_webhooks_are_listed_with_how_they_do(hub: Hub, shell: Shell) -> None:
    failing = a_webhook(status="disabled", disabledReason="failing", consecutiveFailures=40)
    hub.answers("GET", "/webhooks", a_page(a_webhook(), failing))

    _, first, second = shell.run("webhooks", "list").stdout.splitlines()

    assert first.split() == [
        *("https://pager.test/hooks", "integration.alert", "active", "0", "-", HOOK),
    ]
    assert second.split()[2:5] == ["disabled", "(failing)", "40"]
    assert "HTTP 500" in second


def test_a_webhook_is_created_from_its_options(hub: Hub, shell: Shell) -> None:
    hub.answers("POST", "/webhooks", ok(a_webhook(), 201))

    result = shell.run(
        *("webhooks", "create", "--url", "https://pager.test/hooks"),
        *("--auth-ref", "authref://vault/hooks#key", "--type", "integration.alert"),
    )

    assert result.exit_code == 0
    assert hub.body("POST") == {
        "url": "https://pager.test/hooks",
        "authRefUri": "authref://vault/hooks#key",
        "eventTypes": ["integration.alert"],
    }


def test_what_the_server_would_refuse_is_refused_without_it(hub: Hub, shell: Shell) -> None:
    result = shell.run(
        *("webhooks", "create", "--url", "https://pager.test/", "--auth-ref", "whsec_c2VjcmV0"),
    )

    assert result.exit_code == 2
    assert "/authRefUri" in result.stderr
    assert "c2VjcmV0" not in result.output
    assert hub.requests == []


def test_a_webhook_is_changed_and_deleted(hub: Hub, shell: Shell) -> None:
    hub.answers("PUT", f"/webhooks/{HOOK}", ok(a_webhook()))
    hub.answers("DELETE", f"/webhooks/{HOOK}", ok(None, 204))

    changed = shell.run("webhooks", "update", HOOK, "--enabled")
    nothing = shell.run("webhooks", "update", HOOK)
    deleted = shell.run("webhooks", "delete", HOOK)

    assert (changed.exit_code, nothing.exit_code, deleted.exit_code) == (0, 2, 0)
    assert hub.body("PUT") == {"enabled": True}


def test_deliveries_tell_how_it_went_and_when_it_goes_on(hub: Hub, shell: Shell) -> None:
    new = a_delivery(attempts=[], tries=0)
    hub.answers("GET", f"/webhooks/{HOOK}/deliveries", a_page(a_delivery(), new))

    result = shell.run("webhooks", "deliveries", HOOK, "--state", "pending")

    _, first, second = result.stdout.splitlines()
    assert first.split()[2:8] == ["integration.created", "pending", "1", "HTTP", "500", "7"]
    assert first.split()[-1] == DELIVERY
    assert second.split()[4:7] == ["0", "-", "-"]
    assert hub.requests[0].url.params["state"] == "pending"


def test_one_delivery_or_those_that_failed_are_sent_again(hub: Hub, shell: Shell) -> None:
    hub.answers("POST", f"/webhooks/{HOOK}/deliveries/{DELIVERY}/replay", ok(a_delivery(), 202))
    hub.answers("POST", f"/webhooks/{HOOK}/replay", ok({"replayed": 1000, "more": True}, 202))

    one = shell.run("webhooks", "replay", HOOK, DELIVERY)
    many = shell.run("webhooks", "replay", HOOK, "--since", "2h", "--everything")

    assert (one.exit_code, many.exit_code) == (0, 0)
    assert hub.body("POST") == {"since": "2026-11-24T10:00:00Z", "onlyFailed": False}
    assert "Sending 1000 again." in many.stdout
    assert "ask again" in many.stderr


@pytest.mark.parametrize("arguments", [[HOOK], [HOOK, DELIVERY, "--since", "2h"]])
def test_replay_wants_one_or_the_other(hub: Hub, shell: Shell, arguments: list[str]) -> None:
    assert shell.run("webhooks", "replay", *arguments).exit_code == 2
    assert hub.requests == []


def test_a_test_is_asked_for(hub: Hub, shell: Shell) -> None:
    hub.answers("POST", f"/webhooks/{HOOK}/test", ok(a_delivery(eventType="webhook.test"), 202))

    result = shell.run("webhooks", "test", HOOK, "-o", "json")

    assert json.loads(result.stdout)["eventType"] == "webhook.test"


def test_one_that_is_not_there_is_a_refusal(hub: Hub, shell: Shell) -> None:
    hub.answers("DELETE", f"/webhooks/{HOOK}", a_problem(404))

    assert shell.run("webhooks", "delete", HOOK).exit_code == 2
