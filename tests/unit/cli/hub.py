"""A hub that answers what it was told to, and a shell whose `stella` talks to it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner, Result

from stella_cli.app import build_app
from stella_cli.surroundings import Surroundings

URL = "https://hub.test"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
REGISTRY = "01980000-0000-7000-8000-000000000001"
MIRROR = "01980000-0000-7000-8000-000000000002"
CHECK = "01980000-0000-7000-8000-00000000c001"

Answer = httpx.Response | Exception


class Hub:
    """Answers by method and path, each in its turn, the last one again and again."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self._answers: dict[tuple[str, str], list[Answer]] = {}

    def answers(self, method: str, path: str, *answers: Answer) -> None:
        self._answers[method, path] = list(answers)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path.removeprefix("/api/v1")
        waiting = self._answers.get((request.method, path))
        assert waiting, f"nothing was told about {request.method} {path}"
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def sent(self, method: str) -> list[httpx.Request]:
        return [request for request in self.requests if request.method == method]

    def body(self, method: str) -> Any:
        """What the last request with this method sent."""
        return json.loads(self.sent(method)[-1].content)


@dataclass
class Shell:
    """Runs `stella` with variables, a clock and files of its own."""

    hub: Hub
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    groups: Sequence[EntryPoint] = ()
    seconds: float = 0.0
    interrupted_after: float | None = None
    """Ctrl-C is pressed at the first pause that ends later than this."""

    def __post_init__(self) -> None:
        self.variables.setdefault("XDG_CONFIG_HOME", str(self.folder))

    def run(self, *arguments: str, typed: str | None = None) -> Result:
        surroundings = Surroundings(
            environment=self.variables,
            transport=httpx.MockTransport(self.hub.handle),
            now=lambda: NOW,
            clock=lambda: self.seconds,
            pause=self._pause,
            groups=self.groups,
        )
        return CliRunner().invoke(
            build_app(),
            arguments,
            input=typed,
            env={"FORCE_COLOR": None, "TTY_COMPATIBLE": None},
            catch_exceptions=False,
            obj=surroundings,
        )

    def _pause(self, seconds: float) -> None:
        self.seconds += seconds
        if self.interrupted_after is not None and self.seconds > self.interrupted_after:
            raise KeyboardInterrupt


def ok(document: Any, status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=document)


def a_problem(status: int, **fields: Any) -> httpx.Response:
    return httpx.Response(
        status,
        json={"title": "Rejected", "status": status, "detail": "It cannot be.", **fields},
        headers={"Content-Type": "application/problem+json"},
    )


def a_page(*items: Any, next_cursor: str | None = None) -> httpx.Response:
    return ok({"items": list(items), "nextCursor": next_cursor})


def an_integration(**fields: Any) -> dict[str, Any]:
    return {
        "id": REGISTRY,
        "type": "harbor",
        "name": "registry-eu",
        "description": "",
        "config": {"endpoint": "https://harbor.test", "insecure": False},
        "authRefUri": None,
        "connection": None,
        "status": "healthy",
        "enabled": True,
        "tags": ["eu"],
        "checkIntervalSeconds": 300,
        "checkTimeoutSeconds": 10,
        "failureThreshold": 3,
        "successThreshold": 2,
        "createdAt": "2026-11-24T10:00:00Z",
        "updatedAt": "2026-11-24T11:00:00Z",
        "version": 3,
    } | fields


def a_check(**fields: Any) -> dict[str, Any]:
    return {
        "checkId": CHECK,
        "integrationId": REGISTRY,
        "state": "finished",
        "trigger": "on_demand",
        "status": "healthy",
        "errorCode": None,
        "errorMessage": None,
        "latencyMs": 41,
        "checkedAt": "2026-11-24T11:59:00Z",
        "steps": [],
    } | fields


def a_check_of(number: int, **fields: Any) -> dict[str, Any]:
    """One of several checks of one integration, a higher number later."""
    fields = {"checkId": f"01980000-0000-7000-8000-0000000c{number:04}"} | fields
    return a_check(checkedAt=f"2026-11-24T11:00:{number:02}Z", **fields)


def a_health(**fields: Any) -> dict[str, Any]:
    """`checks`, newest first, fill both the history and `lastCheck`."""
    checks = fields.pop("checks", [])
    return {
        "integrationId": REGISTRY,
        "status": "healthy",
        "since": "2026-11-24T10:00:00Z",
        "consecutiveFailures": 0,
        "consecutiveSuccesses": 5,
        "incident": None,
        "lastCheck": checks[0] if checks else None,
        "lastHealthyAt": "2026-11-24T11:59:00Z",
        "nextCheckAt": "2026-11-24T12:04:00Z",
        "history": {"items": checks, "nextCursor": None},
    } | fields


def a_plugin(**fields: Any) -> dict[str, Any]:
    return {
        "pluginId": "harbor",
        "type": "harbor",
        "name": "Harbor",
        "version": "1.0.0",
        "capabilities": ["health"],
        "path": "plugins/harbor",
        "trust": "built_in",
        "state": "ready",
        "lastError": None,
        "digest": "sha256:0a",
        "configSchema": {
            "required": ["endpoint"],
            "properties": {"endpoint": {"type": "string", "description": "The root URL."}},
        },
        "seenAt": "2026-11-24T10:00:00Z",
    } | fields


def an_entry(**fields: Any) -> dict[str, Any]:
    return {
        "id": "01980000-0000-7000-8000-00000000a001",
        "actor": "alice",
        "action": "integration.updated",
        "integrationId": REGISTRY,
        "timestamp": "2026-11-24T11:00:00Z",
        "requestId": "request-1",
        "outcome": "success",
        "details": {"changed": ["config.endpoint"]},
    } | fields
