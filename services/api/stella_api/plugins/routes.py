"""Routes of the plugin catalog: what there is, and asking for a scan."""

from typing import Annotated

from fastapi import APIRouter, Header, Response, status

from stella_api.dependencies import (
    Admin,
    CurrentDatabase,
    CurrentWaiting,
    ReadTransaction,
    RequestId,
)
from stella_api.integrations.routes import COMMON
from stella_api.problems import problems
from stella_api.waiting import seconds_of
from stella_contracts.errors import PluginNotFound
from stella_contracts.messages import DiscoverPlugins
from stella_contracts.plugins import Plugin, PluginList, ScanAccepted, ScanSummary
from stella_runtime.ids import new_id
from stella_runtime.telemetry import tracing

router = APIRouter(tags=["plugins"])


@router.get("/plugins", responses=problems(*COMMON))
async def list_plugins(transaction: ReadTransaction) -> PluginList:
    """List every plugin that was found, those that cannot be used with the reason."""
    return PluginList(items=list(await transaction.plugins.list_all()))


# The second path is the source document's.
@router.post(
    "/integrations/plugins/discover",
    status_code=status.HTTP_202_ACCEPTED,
    include_in_schema=False,
    response_model=ScanAccepted,
)
@router.post(
    "/plugins/discover",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=ScanAccepted,
    responses={
        200: {
            "model": ScanSummary,
            "description": "The scan has finished, within the time of `Prefer: wait`.",
        },
        **problems(*COMMON),
    },
)
async def discover(
    actor: Admin,
    request_id: RequestId,
    database: CurrentDatabase,
    waiting: CurrentWaiting,
    prefer: Annotated[
        str | None, Header(max_length=200, description="`wait=N`: N seconds, at most 30.")
    ] = None,
) -> Response:
    """Scan the plugin paths, and register what is new."""
    scan_id = new_id()
    seconds = seconds_of(prefer)
    with waiting.expected(scan_id) as reply:
        async with database.transaction(actor.tenant_id) as transaction:
            tracing.tell(action="plugins.discovery_requested")
            transaction.outbox.ask(DiscoverPlugins(scan_id=scan_id, request_id=request_id))
            transaction.audit_logs.add(
                "plugins.discovery_requested",
                actor=actor.subject,
                request_id=request_id,
                details={"scanId": str(scan_id)},
            )
        # The transaction is over: nothing of the database is held while we wait.
        outcome = await reply.outcome(seconds) if seconds else None
    if outcome is not None:
        summary = ScanSummary.model_validate(outcome)
        return Response(
            summary.model_dump_json(),
            media_type="application/json",
            headers={"Preference-Applied": f"wait={seconds}"},
        )
    return Response(
        ScanAccepted(scan_id=scan_id).model_dump_json(),
        status_code=status.HTTP_202_ACCEPTED,
        media_type="application/json",
    )


@router.get("/plugins/{provider_type}", responses=problems(PluginNotFound, *COMMON))
async def get_plugin(provider_type: str, transaction: ReadTransaction) -> Plugin:
    """Who provides a type, with the schema of its config."""
    return await transaction.plugins.get(provider_type)
