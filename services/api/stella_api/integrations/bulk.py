"""Routes for the catalog as a whole: out of one hub, and into another."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, status

from stella_api.authentication import Actor
from stella_api.dependencies import CurrentDatabase, CurrentRules, Reader, RequestId, Writer
from stella_api.integrations.importing import Import
from stella_api.integrations.references import seen
from stella_api.integrations.routes import COMMON
from stella_api.integrations.service import Call
from stella_api.ndjson import MEDIA_TYPE, Lines
from stella_api.problems import problems
from stella_contracts.bulk import ExportedIntegration, ImportResult
from stella_contracts.errors import ImportRejected
from stella_runtime.persistence import Database
from stella_runtime.persistence.integrations import Filters, Position, Sort

router = APIRouter(prefix="/integrations", tags=["integrations"])

EXPORT_PAGE = 200

# No type: a schema of OpenAPI 3.1 cannot say "one document a line", and each line is judged alone.
_LINE = {"description": "One IntegrationCreate a line, as the export has them."}
_LINES = {MEDIA_TYPE: {"schema": {"type": "string"}}}


@router.get(
    "/export",
    status_code=status.HTTP_200_OK,
    response_class=Response,
    responses={
        200: {"description": "One ExportedIntegration a line.", "content": _LINES},
        **problems(*COMMON),
    },
)
async def export(
    actor: Reader,
    request_id: RequestId,
    database: CurrentDatabase,
    type: Annotated[str | None, Query(max_length=64)] = None,  # noqa: A002 - its name in the URL
    tag: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Every integration as NDJSON that an import takes. An answer that breaks off is not whole."""
    filters = {name: value for name, value in {"type": type, "tag": tag}.items() if value}
    async with database.transaction(actor.tenant_id) as transaction:
        transaction.audit_logs.add(
            "integrations.exported",
            actor=actor.subject,
            request_id=request_id,
            details=dict(filters),
        )
    return Lines(_pages(database, actor, Filters(type=type, tag=tag)))


@router.post(
    "/import",
    responses=problems(ImportRejected, *COMMON),
    openapi_extra={"requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": _LINE}}}},
)
async def import_lines(
    actor: Writer,
    request: Request,
    request_id: RequestId,
    database: CurrentDatabase,
    rules: CurrentRules,
    dry_run: Annotated[bool, Query(alias="dryRun", description="Store nothing.")] = False,
) -> ImportResult:
    """
    Register what the lines say, as POST does, or make the integration of the same name the same.

    Each line is stored for itself. What has failed can be put right and sent again with all.
    """
    work = Import(database, Call(actor, request_id), rules, dry_run)
    return await work.run(await request.body())


async def _pages(
    database: Database, actor: Actor, filters: Filters
) -> AsyncIterator[Sequence[ExportedIntegration]]:
    """Each page is a transaction of its own: none is open while a client reads."""
    after: Position | None = None
    while True:
        async with database.transaction(actor.tenant_id) as transaction:
            found = await transaction.integrations.list_page(
                filters, sort=Sort.CREATED, limit=EXPORT_PAGE, after=after
            )
        yield [ExportedIntegration.of(each) for each in seen(actor, found)]
        if len(found) < EXPORT_PAGE:
            return
        after = Position(value=str(found[-1].id), id=found[-1].id)
