"""`stella integrations check|health|watch`, and the codes that they end with."""

import json
from typing import Any

import httpx
import pytest
from tests.unit.cli.hub import (
    CHECK,
    MIRROR,
    REGISTRY,
    Hub,
    Shell,
    a_check,
    a_check_of,
    a_health,
    a_page,
    a_problem,
    an_integration,
    ok,
)

ASK = f"/integrations/{REGISTRY}/health-check"
ASKED = f"/integrations/{REGISTRY}/health-checks/{CHECK}"
HEALTH = f"/integrations/{REGISTRY}/health"
ACCEPTED = ok({"checkId": CHECK, "statusUrl": f"/api/v1{ASKED}"}, 202)
PENDING = ok(
    {
        "checkId": CHECK,
        "integrationId": REGISTRY,
        "state": "pending",
        "trigger": "on_demand",
        "requestedAt": "2026-11-24T12:00:00Z",
    }
)
EXPIRED = ok(json.loads(PENDING.content) | {"state": "expired"})


@pytest.mark.parametrize(
    ("status", "code"),
    [("healthy", 0), ("degraded", 0), ("unknown", 0), ("unhealthy", 3)],
)
@pytest.mark.parametrize("output", ["table", "json"])
def test_check_ends_with_3_when_unhealthy(
    status: str, code: int, output: str, hub: Hub, shell: Shell
) -> None:
    hub.answers("POST", ASK, ok(a_check(status=status)))

    result = shell.run("integrations", "check", REGISTRY, "-o", output)

    assert result.exit_code == code
    assert status in result.stdout


def test_check_shows_the_steps_and_marks_the_first_that_failed(hub: Hub, shell: Shell) -> None:
    steps = [
        {"name": "connect", "result": "passed", "ms": 8.6},
        {"name": "tls", "result": "failed", "ms": 12},
        {"name": "request", "result": "skipped"},
        {"name": "permissions", "result": "failed", "ms": 1},
    ]
    failed = a_check(
        status="unhealthy", errorCode="tls", errorMessage="expired", latencyMs=41, steps=steps
    )
    hub.answers("GET", "/integrations", a_page(an_integration(name="registry-eu")))
    hub.answers("POST", ASK, ok(failed))

    result = shell.run("integrations", "check", "registry-eu")

    assert [line.split() for line in result.stdout.splitlines()] == [
        ["registry-eu", "unhealthy", "41", "ms", "tls", "expired"],
        ["passed", "connect", "9", "ms"],
        [">", "failed", "tls", "12", "ms"],
        ["skipped", "request", "-"],
        ["failed", "permissions", "1", "ms"],
    ]


@pytest.mark.parametrize(
    ("wait", "header"),
    [
        pytest.param("10", "wait=10", id="as long as asked"),
        pytest.param("300", "wait=30", id="never longer than the server can"),
    ],
)
def test_check_asks_the_server_to_wait(wait: str, header: str, hub: Hub, shell: Shell) -> None:
    hub.answers("POST", ASK, ok(a_check()))

    shell.run("integrations", "check", REGISTRY, "--wait", wait)

    assert hub.requests[0].headers["Prefer"] == header


def test_check_is_awaited_beyond_what_the_server_waits(hub: Hub, shell: Shell) -> None:
    hub.answers("POST", ASK, ACCEPTED)
    hub.answers("GET", ASKED, PENDING, PENDING, ok(a_check(status="unhealthy")))

    result = shell.run("integrations", "check", REGISTRY, "--wait", "60")

    assert result.exit_code == 3


@pytest.mark.parametrize("answer", [PENDING, EXPIRED], ids=["still pending", "never run"])
def test_check_that_does_not_finish_in_time_ends_with_4(
    answer: httpx.Response, hub: Hub, shell: Shell
) -> None:
    hub.answers("POST", ASK, ACCEPTED)
    hub.answers("GET", ASKED, answer)

    result = shell.run("integrations", "check", REGISTRY, "--wait", "2")

    assert result.exit_code == 4
    assert "did not finish in time" in result.stderr
    assert shell.seconds <= 2


def test_check_without_waiting_ends_at_once(hub: Hub, shell: Shell) -> None:
    hub.answers("POST", ASK, ACCEPTED)

    result = shell.run("integrations", "check", REGISTRY, "--wait", "0")

    assert result.exit_code == 0
    assert CHECK in result.stdout
    assert "Prefer" not in hub.requests[0].headers


@pytest.mark.parametrize(
    ("status", "code"),
    [("healthy", 0), ("degraded", 0), ("disabled", 0), ("unhealthy", 3)],
)
def test_health_ends_with_3_when_unhealthy(status: str, code: int, hub: Hub, shell: Shell) -> None:
    hub.answers("GET", HEALTH, ok(a_health(status=status)))

    result = shell.run("integrations", "health", REGISTRY)

    assert result.exit_code == code
    assert status in result.stdout


@pytest.mark.parametrize(
    ("failures", "successes", "said"),
    [(3, 0, "3 failures"), (1, 0, "1 failure"), (0, 1, "1 success"), (0, 5, "5 successes")],
)
def test_health_says_what_came_in_a_row(
    failures: int, successes: int, said: str, hub: Hub, shell: Shell
) -> None:
    health = a_health(consecutiveFailures=failures, consecutiveSuccesses=successes)
    hub.answers("GET", HEALTH, ok(health))

    result = shell.run("integrations", "health", REGISTRY)

    [line] = [line for line in result.stdout.splitlines() if line.startswith("in a row")]
    assert line.split("in a row")[1].strip() == said


def test_health_shows_the_incident_and_the_history(hub: Hub, shell: Shell) -> None:
    incident = {
        "id": "01980000-0000-7000-8000-00000000d001",
        "openedAt": "2026-11-24T11:30:00Z",
        "errorCode": "tls",
        "errorMessage": "certificate expired",
    }
    checks = [a_check(checkedAt="2026-11-24T11:31:00Z", errorCode="tls", status="unhealthy")]
    hub.answers("GET", HEALTH, ok(a_health(incident=incident, checks=checks)))

    result = shell.run("integrations", "health", REGISTRY, "--limit", "5")

    assert "opened 2026-11-24 11:30:00Z  tls  certificate expired" in result.stdout
    assert "2026-11-24 11:31:00Z" in result.stdout
    assert hub.requests[0].url.params["limit"] == "5"


def test_health_shows_hours_and_days(hub: Hub, shell: Shell) -> None:
    hour = {
        "startingAt": "2026-11-24T11:00:00Z",
        "checks": 12,
        "healthy": 9,
        "degraded": 2,
        "unhealthy": 1,
        "unknown": 0,
        "averageLatencyMs": 40.6,
        "maxLatencyMs": 300,
    }
    history = {"items": [hour], "nextCursor": None}
    hub.answers("GET", HEALTH, ok(a_health(history=history)))

    result = shell.run(
        "integrations", "health", REGISTRY, "--resolution", "hour", "--since", "2026-11-24T08:00Z"
    )

    line = next(line for line in result.stdout.splitlines() if "11:00:00Z" in line)
    assert line.split()[2:] == ["12", "9", "2", "1", "0", "41", "ms", "300", "ms"]
    assert hub.requests[0].url.params["resolution"] == "hour"
    assert hub.requests[0].url.params["from"].startswith("2026-11-24T08:00:00")


def test_transitions_are_shown_page_by_page(hub: Hub, shell: Shell) -> None:
    change = {
        "at": "2026-11-24T11:30:00Z",
        "previousStatus": "healthy",
        "status": "unhealthy",
        "errorCode": "tls",
        "incidentId": None,
    }
    first = {"items": [change], "nextCursor": "next"}
    last = {"items": [change | {"at": "2026-11-23T11:30:00Z"}], "nextCursor": None}
    hub.answers("GET", f"/integrations/{REGISTRY}/transitions", ok(first), ok(last))

    result = shell.run("integrations", "transitions", REGISTRY, "--all")

    lines = [line.split() for line in result.stdout.splitlines() if "11:30:00Z" in line]
    assert [line[0] for line in lines] == ["2026-11-24", "2026-11-23"]
    assert lines[0][2:5] == ["healthy", "unhealthy", "tls"]


def looks(hub: Hub, *healths: dict[str, Any]) -> None:
    hub.answers("GET", "/integrations", a_page(an_integration(name="registry-eu")))
    hub.answers("GET", HEALTH, *[ok(health) for health in healths])


def test_watch_tells_each_new_check_and_each_change_once(hub: Hub, shell: Shell) -> None:
    first = a_check_of(1, status="healthy")
    second = a_check_of(2, status="unhealthy", errorCode="connect", errorMessage="refused")
    third = a_check_of(3, status="unhealthy", errorCode="connect")
    looks(
        hub,
        a_health(status="healthy", checks=[first]),
        a_health(status="healthy", checks=[first]),
        a_health(status="unhealthy", since="2026-11-24T11:00:03Z", checks=[third, second, first]),
    )
    shell.interrupted_after = 4

    result = shell.run("integrations", "watch", "registry-eu")

    assert result.stdout.splitlines() == [
        "2026-11-24 11:00:01Z  registry-eu check: healthy",
        "2026-11-24 10:00:00Z  registry-eu healthy",
        "2026-11-24 11:00:02Z  registry-eu check: unhealthy  connect  refused",
        "2026-11-24 11:00:03Z  registry-eu check: unhealthy  connect",
        "2026-11-24 11:00:03Z  registry-eu healthy -> unhealthy",
    ]


def test_watch_prints_one_document_a_line_in_json(hub: Hub, shell: Shell) -> None:
    waiting, working = a_health(status="unknown"), a_health(checks=[a_check_of(1)])
    looks(hub, waiting, waiting, working)

    result = shell.run("integrations", "watch", "registry-eu", "--until", "healthy", "-o", "json")

    assert [json.loads(line) for line in result.stdout.splitlines()] == [waiting, working]


def test_interrupt_ends_watch_with_0(hub: Hub, shell: Shell) -> None:
    looks(hub, a_health())
    shell.interrupted_after = 0

    result = shell.run("integrations", "watch", "registry-eu", "--until", "unhealthy")

    assert result.exit_code == 0


def test_watch_ends_with_0_when_the_status_is_reached(hub: Hub, shell: Shell) -> None:
    looks(hub, a_health(status="unknown"), a_health(status="healthy"))

    result = shell.run(
        *("integrations", "watch", "registry-eu", "--until", "healthy", "--timeout", "30")
    )

    assert result.exit_code == 0
    assert shell.seconds == 1


def test_watch_ends_with_4_when_the_status_is_not_reached_in_time(hub: Hub, shell: Shell) -> None:
    looks(hub, a_health(status="unknown"))

    result = shell.run(
        *("integrations", "watch", "registry-eu", "--until", "healthy"),
        *("--timeout", "2.5", "--interval", "2"),
    )

    assert result.exit_code == 4
    assert result.stderr == "Error: Not healthy within 2.5 s.\n"
    assert shell.seconds == 2.5


def test_watch_without_a_status_to_wait_for_ends_with_0_at_its_timeout(
    hub: Hub, shell: Shell
) -> None:
    looks(hub, a_health())

    result = shell.run("integrations", "watch", "registry-eu", "--timeout", "3")

    assert result.exit_code == 0


def test_watch_waits_until_all_have_the_status(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", HEALTH, ok(a_health(status="healthy")))
    other = a_health(integrationId=MIRROR)
    hub.answers(
        "GET", f"/integrations/{MIRROR}/health", ok(other | {"status": "unknown"}), ok(other)
    )

    result = shell.run("integrations", "watch", REGISTRY, MIRROR, "--until", "healthy")

    assert result.exit_code == 0
    assert shell.seconds == 1


def test_watch_of_all_follows_who_comes_and_who_goes(hub: Hub, shell: Shell) -> None:
    registry, mirror = an_integration(name="registry-eu"), an_integration(id=MIRROR, name="mirror")
    hub.answers("GET", "/integrations", a_page(registry), a_page(registry, mirror))
    hub.answers("GET", HEALTH, ok(a_health()), a_problem(404, title="Not found"))
    hub.answers("GET", f"/integrations/{MIRROR}/health", ok(a_health(integrationId=MIRROR)))

    result = shell.run("integrations", "watch", "--timeout", "1")

    assert result.exit_code == 0
    assert [line.split()[2] for line in result.stdout.splitlines()] == ["registry-eu", "mirror"]


def test_watch_of_too_many_asks_for_names(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", "/integrations", a_page(*[an_integration()] * 101))

    result = shell.run("integrations", "watch")

    assert result.exit_code == 2
    assert "Name those to watch" in result.stderr


def test_watch_notes_an_outage_of_the_hub_once_and_goes_on(hub: Hub, shell: Shell) -> None:
    hub.answers(
        "GET",
        HEALTH,
        ok(a_health(status="unknown")),
        a_problem(503, title="Unavailable"),
        a_problem(503, title="Unavailable"),
        ok(a_health(status="healthy")),
    )

    result = shell.run("integrations", "watch", REGISTRY, "--until", "healthy")

    assert result.exit_code == 0
    assert result.stderr.count("Still watching") == 1


def test_watch_fails_when_the_hub_is_away_from_the_start(hub: Hub, shell: Shell) -> None:
    hub.answers("GET", HEALTH, a_problem(503, title="Unavailable"))

    result = shell.run("integrations", "watch", REGISTRY)

    assert result.exit_code == 1


def test_draft_is_checked_before_it_is_registered(hub: Hub, shell: Shell) -> None:
    found = a_check(status="unhealthy", integrationId=None, trigger="draft", errorCode="tls")
    hub.answers("POST", "/integrations/test", ok(found))

    result = shell.run(
        *("integrations", "test", "--type", "harbor", "--wait", "7"),
        *("-c", "endpoint=https://harbor.test", "--auth-ref", "authref://vault/ci/harbor"),
    )

    assert result.exit_code == 3
    assert result.stdout.splitlines()[0].split()[:2] == ["harbor", "unhealthy"]
    assert hub.requests[0].headers["Prefer"] == "wait=7"
    assert hub.body("POST") == {
        "type": "harbor",
        "config": {"endpoint": "https://harbor.test"},
        "authRefUri": "authref://vault/ci/harbor",
    }
