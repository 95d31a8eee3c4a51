"""Routes of checks, status and history. Nothing to decide, so no service."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response, status

from stella_api.authentication import Actor
from stella_api.cursors import Cursors
from stella_api.dependencies import (
    CurrentCursors,
    CurrentDatabase,
    CurrentWaiting,
    Operator,
    ReadTransaction,
    RequestId,
)
from stella_api.identifiers import as_uuid, require_uuid
from stella_api.integrations.routes import COMMON, Cursor, Limit
from stella_api.problems import problems
from stella_api.waiting import seconds_of
from stella_contracts.errors import (
    CheckNotFound,
    IntegrationDisabled,
    IntegrationNotFound,
    MalformedCursor,
)
from stella_contracts.health import (
    Check,
    CheckAccepted,
    CheckTrigger,
    FinishedCheck,
    Health,
    History,
    Incident,
)
from stella_contracts.messages import RunRequestedCheck
from stella_contracts.model import UtcDatetime
from stella_runtime.persistence import Transaction
from stella_runtime.persistence.check_requests import Requested
from stella_runtime.persistence.health_checks import Place, Span
from stella_runtime.telemetry import tracing

router = APIRouter(prefix="/integrations/{integration_id}", tags=["health"])

Moment = Annotated[UtcDatetime | None, Query(description="RFC 3339, with its time zone.")]


@router.post(
    "/health-check",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=CheckAccepted,
    responses={
        200: {
            "model": FinishedCheck,
            "description": "The check has finished, within the time of `Prefer: wait`.",
        },
        **problems(IntegrationNotFound, IntegrationDisabled, *COMMON),
    },
)
async def check(
    actor: Operator,
    integration_id: str,
    request_id: RequestId,
    database: CurrentDatabase,
    waiting: CurrentWaiting,
    prefer: Annotated[
        str | None, Header(max_length=200, description="`wait=N`: N seconds, at most 30.")
    ] = None,
) -> Response:
    """Check now. Joins the check that is in flight, if there is one."""
    identifier = require_uuid(integration_id)
    seconds = seconds_of(prefer)
    async with AsyncExitStack() as stack:
        async with database.transaction(actor.tenant_id) as transaction:
            with tracing.span(
                "request health check",
                action="integration.check_requested",
                tenant_id=actor.tenant_id,
                integration_id=str(identifier),
            ):
                requested = await _request(transaction, actor, identifier, request_id)
            # Before the commit: afterwards the reply could have come already.
            reply = stack.enter_context(waiting.expected(requested.check_id))

        async def look() -> FinishedCheck | None:
            async with database.transaction(actor.tenant_id) as transaction:
                return await transaction.health_checks.find(identifier, requested.check_id)

        # The transaction is over: nothing of the database is held while we wait.
        finished = await reply.look_for(seconds, look) if seconds else None
    url = f"/api/v1/integrations/{identifier}/health-checks/{requested.check_id}"
    if finished is not None:
        return Response(
            finished.model_dump_json(),
            media_type="application/json",
            headers={"Preference-Applied": f"wait={seconds}", "Content-Location": url},
        )
    accepted = CheckAccepted(check_id=requested.check_id, status_url=url)
    return Response(
        accepted.model_dump_json(),
        status_code=status.HTTP_202_ACCEPTED,
        media_type="application/json",
        headers={"Location": url},
    )


async def _request(
    transaction: Transaction, actor: Actor, integration_id: UUID, request_id: str
) -> Requested:
    """Ask for a check, or join the one that is in flight."""
    await transaction.schedule.lock(integration_id)
    integration = await transaction.integrations.get(integration_id)
    if not integration.enabled:
        raise IntegrationDisabled
    requested = await transaction.check_requests.join_or_add(
        integration_id,
        requested_by=actor.subject,
        timeout_seconds=integration.check_timeout_seconds,
    )
    if requested.started:
        transaction.outbox.ask(
            RunRequestedCheck(
                check_id=requested.check_id,
                integration_id=integration_id,
                tenant_id=actor.tenant_id,
                trigger=CheckTrigger.ON_DEMAND,
                request_id=request_id,
            )
        )
    transaction.audit_logs.add(
        "integration.check_requested",
        actor=actor.subject,
        request_id=request_id,
        integration_id=integration_id,
        details={"checkId": str(requested.check_id)},
    )
    return requested


@router.get(
    "/health-checks/{check_id}",
    responses=problems(IntegrationNotFound, CheckNotFound, *COMMON),
)
async def get_check(integration_id: str, check_id: str, transaction: ReadTransaction) -> Check:
    """One check: pending, finished, or expired because nothing ran it in time."""
    identifier = require_uuid(integration_id)
    await transaction.integrations.get(identifier)
    wanted = as_uuid(check_id)
    if wanted is None:
        raise CheckNotFound(check_id)
    finished = await transaction.health_checks.find(identifier, wanted)
    if finished is not None:
        return finished
    waiting = await transaction.check_requests.find(identifier, wanted, now=datetime.now(UTC))
    if waiting is None:
        raise CheckNotFound(check_id)
    return waiting


@router.get("/health", responses=problems(IntegrationNotFound, MalformedCursor, *COMMON))
async def get_health(
    integration_id: str,
    transaction: ReadTransaction,
    cursors: CurrentCursors,
    since: Annotated[Moment, Query(alias="from")] = None,
    until: Annotated[Moment, Query(alias="to")] = None,
    resolution: Literal["raw", "hour", "day"] = "raw",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Health:
    """How an integration is now, since when, and how it was."""
    identifier = require_uuid(integration_id)
    integration = await transaction.integrations.get(identifier)
    state = await transaction.schedule.get(identifier)
    incident = await transaction.incidents.find_open(identifier)
    muted_until = await transaction.mutes.find_end(
        identifier, provider_type=integration.type, tags=integration.tags
    )
    page = _Page(identifier, Span(since, until), resolution, limit, cursor)
    return Health(
        integration_id=identifier,
        status=integration.status,
        since=state.since,
        consecutive_failures=state.consecutive_failures,
        consecutive_successes=state.consecutive_successes,
        incident=None if incident is None else Incident.model_validate(incident),
        last_check=state.last_check,
        last_healthy_at=state.last_healthy_at,
        next_check_at=state.next_check_at,
        flapping=state.flapping_since is not None,
        muted_until=muted_until,
        history=await page.read(transaction, cursors),
    )


class _Page:
    """One page of history: checks, or what the checks of each hour or day found."""

    def __init__(
        self,
        integration_id: UUID,
        span: Span,
        resolution: Literal["raw", "hour", "day"],
        limit: int,
        cursor: str | None,
    ) -> None:
        self._integration_id = integration_id
        self._span = span
        self._resolution = resolution
        self._limit = limit
        self._cursor = cursor

    async def read(self, transaction: Transaction, cursors: Cursors) -> History:
        position = cursors.read(self._cursor, **self._bound(transaction))
        if self._resolution == "raw":
            return await self._checks(transaction, cursors, position)
        return await self._rollups(transaction, cursors, position)

    def _bound(self, transaction: Transaction) -> dict[str, Any]:
        filters = {
            "integration": self._integration_id,
            "from": self._span.since,
            "to": self._span.until,
            "resolution": self._resolution,
        }
        return {"tenant": transaction.tenant_id, "listing": "history", "filters": filters}

    async def _checks(
        self, transaction: Transaction, cursors: Cursors, position: list[str] | None
    ) -> History:
        before = position and Place(datetime.fromisoformat(position[0]), UUID(position[1]))
        found = await transaction.health_checks.list_page(
            self._integration_id, self._span, limit=self._limit + 1, before=before or None
        )
        items = list(found[: self._limit])
        if len(found) <= self._limit:
            return History(items=items)
        end = [items[-1].checked_at.isoformat(), str(items[-1].check_id)]
        return History(items=items, next_cursor=cursors.write(end, **self._bound(transaction)))

    async def _rollups(
        self, transaction: Transaction, cursors: Cursors, position: list[str] | None
    ) -> History:
        unit: Literal["hour", "day"] = "hour" if self._resolution == "hour" else "day"
        found = await transaction.rollups.list_page(
            self._integration_id,
            self._span,
            unit=unit,
            limit=self._limit + 1,
            before=datetime.fromisoformat(position[0]) if position else None,
        )
        items = list(found[: self._limit])
        if len(found) <= self._limit:
            return History(items=items)
        end = [items[-1].starting_at.isoformat()]
        return History(items=items, next_cursor=cursors.write(end, **self._bound(transaction)))
