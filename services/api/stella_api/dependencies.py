"""What a route may ask for, by type."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from stella_api.audit.refusals import ACTOR
from stella_api.authentication import Actor
from stella_api.cursors import Cursors
from stella_api.events.streams import EventStreams
from stella_api.integrations.service import Rules
from stella_api.plugin_catalog import PluginCatalog
from stella_api.waiting import Waiting
from stella_contracts.errors import TooManyRequests
from stella_runtime.messaging.bus import Bus
from stella_runtime.persistence import Database, Transaction
from stella_runtime.secrets import AuthRefPolicy
from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.metrics import Metrics

_bearer = HTTPBearer(auto_error=False, description="A JWT of the Authority.")


_Authenticate = Callable[..., Awaitable[Actor]]


READ = "integrations:read"


async def authenticate(request: Request, scope: str) -> Actor:
    """Who calls, within their quota. Raises what `Authenticator` does, TooManyRequests, or
    ScopeMissing."""
    state = request.app.state
    actor: Actor = await state.authenticator.authenticate(request.headers)
    structlog.contextvars.bind_contextvars(tenant_id=actor.tenant_id)
    tracing.tell(tenant_id=actor.tenant_id)
    quota = state.quotas.take(actor.tenant_id)
    request.state.quota = quota
    if quota.is_exceeded:
        raise TooManyRequests(quota.limit, retry_after_seconds=quota.reset_seconds)
    # Before it is refused: the audit log tells of that as well.
    setattr(request.state, ACTOR, actor)
    actor.require(scope)
    return actor


def _actor_with(scope: str) -> _Authenticate:
    async def actor_of(request: Request, _: Annotated[object, Security(_bearer)]) -> Actor:
        return await authenticate(request, scope)

    return actor_of


def _transaction_of(actor_of: _Authenticate) -> Callable[..., AsyncIterator[Transaction]]:
    async def transaction(
        request: Request, actor: Annotated[Actor, Depends(actor_of)]
    ) -> AsyncIterator[Transaction]:
        database: Database = request.app.state.database
        async with database.transaction(actor.tenant_id) as opened:
            yield opened

    return transaction


_reader = _actor_with(READ)
_writer = _actor_with("integrations:write")
_operator = _actor_with("integrations:operate")
_admin = _actor_with("integrations:admin")

Reader = Annotated[Actor, Depends(_reader)]
Writer = Annotated[Actor, Depends(_writer)]
Operator = Annotated[Actor, Depends(_operator)]
Admin = Annotated[Actor, Depends(_admin)]

# "function" commits before the response is sent. The default commits after, and a failed
# commit would then follow a 201.
ReadTransaction = Annotated[Transaction, Depends(_transaction_of(_reader), scope="function")]
WriteTransaction = Annotated[Transaction, Depends(_transaction_of(_writer), scope="function")]
OperatorTransaction = Annotated[Transaction, Depends(_transaction_of(_operator), scope="function")]
AdminTransaction = Annotated[Transaction, Depends(_transaction_of(_admin), scope="function")]


# All of them async: FastAPI runs the others in threads, which costs more than what they do.
async def _request_id(request: Request) -> str:
    return str(request.state.request_id)


async def _database(request: Request) -> Database:
    found: Database = request.app.state.database
    return found


async def _bus(request: Request) -> Bus:
    found: Bus = request.app.state.bus
    return found


async def _cursors(request: Request) -> Cursors:
    found: Cursors = request.app.state.cursors
    return found


async def _event_streams(request: Request) -> EventStreams:
    found: EventStreams = request.app.state.event_streams
    return found


async def _plugin_catalog(request: Request) -> PluginCatalog:
    found: PluginCatalog = request.app.state.plugin_catalog
    return found


async def _authref_policy(request: Request) -> AuthRefPolicy:
    found: AuthRefPolicy = request.app.state.authref_policy
    return found


async def _rules(plugins: "Plugins", policy: "CurrentPolicy") -> Rules:
    return Rules(plugins, policy)


async def _waiting(request: Request) -> Waiting:
    found: Waiting = request.app.state.waiting
    return found


async def _metrics(request: Request) -> Metrics:
    found: Metrics = request.app.state.metrics
    return found


RequestId = Annotated[str, Depends(_request_id)]
CurrentDatabase = Annotated[Database, Depends(_database)]
CurrentBus = Annotated[Bus, Depends(_bus)]
CurrentCursors = Annotated[Cursors, Depends(_cursors)]
CurrentEventStreams = Annotated[EventStreams, Depends(_event_streams)]
Plugins = Annotated[PluginCatalog, Depends(_plugin_catalog)]
CurrentPolicy = Annotated[AuthRefPolicy, Depends(_authref_policy)]
CurrentRules = Annotated[Rules, Depends(_rules)]
CurrentWaiting = Annotated[Waiting, Depends(_waiting)]
CurrentMetrics = Annotated[Metrics, Depends(_metrics)]
