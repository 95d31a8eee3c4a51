"""A receiver of webhooks on a socket, and couriers that call it."""

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_network
from typing import Any
from uuid import UUID

from standardwebhooks.webhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import SecretUnavailable
from stella_contracts.webhooks import Delivery, WebhookCreate
from stella_contracts.webhooks import Webhook as Endpoint
from stella_health_worker.webhooks.courier import Courier, Limits
from stella_health_worker.webhooks.delivering import woken
from stella_health_worker.webhooks.rules import Rules
from stella_health_worker.webhooks.sender import Sender
from stella_runtime.egress import open_egress
from stella_runtime.messaging.bus import Bus
from stella_runtime.operations import serving
from stella_runtime.persistence import Database
from stella_runtime.secrets import SecretResolver
from stella_runtime.telemetry.metrics import Metrics
from tests.support.catalog import TENANT

KEY = "whsec_" + base64.b64encode(b"a key for tests, of 32 bytes....").decode()
AUTH_REF = "authref://vault/hooks#key"

IMPATIENT = Rules(
    retry_seconds=[0.02] * 8,
    pause_seconds=0.001,
    longest_pause_seconds=0.02,
    trial_every=timedelta(seconds=0.02),
)
QUICK = Limits(poll_seconds=0.02)


@dataclass(frozen=True, slots=True)
class Received:
    """One call, whose signature was right."""

    id: str
    event: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def name(self) -> str:
        return str(self.event["data"].get("name"))


@dataclass
class Receiver:
    """Answers what it is told to, by path: each in its turn, the last one again and again."""

    url: str = ""
    keys: list[str] = field(default_factory=lambda: [KEY])
    calls: dict[str, list[Received]] = field(default_factory=lambda: defaultdict(list))
    accepted: dict[str, list[Received]] = field(default_factory=lambda: defaultdict(list))
    in_flight: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    most_in_flight: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """What hangs goes on when this is set."""
    _answers: dict[str, list[Any]] = field(default_factory=dict)

    def answers(self, path: str, *answers: Any) -> None:
        """A status, a Response, `hang`, or `endless`."""
        self._answers[path] = list(answers)

    async def handle(self, request: Request) -> Response:
        path = request.url.path
        body = await request.body()
        for key in self.keys:
            # Raises, and the test sees a 500, unless the signature is right.
            Webhook(key).verify(body, dict(request.headers))
        received = Received(request.headers["webhook-id"], json.loads(body), dict(request.headers))
        self.calls[path].append(received)
        self.in_flight[path] += 1
        self.most_in_flight[path] = max(self.most_in_flight[path], self.in_flight[path])
        try:
            answer = await self._answer(path)
        finally:
            self.in_flight[path] -= 1
        if answer.status_code < 300:
            self.accepted[path].append(received)
        return answer

    async def _answer(self, path: str) -> Response:
        waiting = self._answers.get(path, [204])
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if answer == "hang":
            await self.go_on.wait()
            return Response(status_code=204)
        if answer == "endless":
            return StreamingResponse(self._endless(), status_code=200)
        return answer if isinstance(answer, Response) else Response(status_code=answer)

    async def _endless(self) -> AsyncIterator[bytes]:
        while not self.go_on.is_set():
            yield b"x" * 65536
            await asyncio.sleep(0)

    def names(self, path: str) -> list[str]:
        """What was accepted, in the order in which it came."""
        return [each.name for each in self.accepted[path]]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = Starlette(routes=[Route("/{path:path}", receiver.handle, methods=["POST", "GET"])])
    async with serving(app, host="127.0.0.1", port=0, drain_seconds=1) as port:
        receiver.url = f"http://127.0.0.1:{port}"
        try:
            yield receiver
        finally:
            receiver.go_on.set()


class Vault:
    """Secrets in memory."""

    def __init__(self, *keys: str) -> None:
        self.keys: list[str] = list(keys) or [KEY]
        self.is_away = False

    async def read(self, path: str) -> str:
        if self.is_away:
            raise SecretUnavailable("The vault is away.")
        return json.dumps({f"key{number or ''}": key for number, key in enumerate(self.keys)})


@asynccontextmanager
async def delivering(
    database: Database,
    *,
    rules: Rules = IMPATIENT,
    limits: Limits = QUICK,
    vault: Vault | None = None,
    allow: str = "127.0.0.0/8",
    answer_seconds: float = 15.0,
    metrics: Metrics | None = None,
    bus: Bus | None = None,
) -> AsyncIterator[asyncio.Task[None]]:
    """A worker that delivers webhooks, until the block ends; with a bus it hears of events."""
    async with open_egress([ip_network(allow)]) as egress:
        secrets = SecretResolver(environment="production", stores={"vault": vault or Vault()})
        courier = Courier(
            database,
            Sender(egress, secrets, answer_seconds=answer_seconds),
            metrics or Metrics(),
            rules=rules,
            limits=limits,
            drain_seconds=5,
        )
        async with woken(courier, bus) if bus is not None else nullcontext():
            task = asyncio.create_task(courier.run())
            try:
                yield task
            finally:
                task.cancel()
                await asyncio.wait([task])


async def hook(database: Database, url: str, *, tenant: str = TENANT, **fields: Any) -> Endpoint:
    """Register an endpoint, as the API does."""
    reference = AuthRef.parse(fields.pop("auth_ref_uri", AUTH_REF))
    new = WebhookCreate(url=url, auth_ref_uri=reference, **fields)
    async with database.transaction(tenant) as transaction:
        return await transaction.webhooks.add(new)


async def state_of(database: Database, webhook_id: UUID, *, tenant: str = TENANT) -> Endpoint:
    async with database.transaction(tenant) as transaction:
        return await transaction.webhooks.get(webhook_id)


async def log_of(database: Database, webhook_id: UUID) -> list[Delivery]:
    """The delivery log, oldest first."""
    async with database.transaction(TENANT) as transaction:
        found = await transaction.webhook_deliveries.list_page(
            webhook_id, state=None, limit=200, before=None
        )
    return sorted(found, key=lambda each: each.id)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition of any kind."""
    while not condition():  # noqa: ASYNC110 - polled, since what it looks at tells nobody
        await asyncio.sleep(0.01)
