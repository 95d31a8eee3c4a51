"""The route of drafts: checked by a worker, and stored nowhere."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header

from stella_api.dependencies import (
    CurrentBus,
    CurrentDatabase,
    CurrentRules,
    CurrentWaiting,
    RequestId,
    Writer,
)
from stella_api.examples import CREATE_BODIES
from stella_api.integrations.routes import COMMON
from stella_api.integrations.service import Call, Rules, check_fields
from stella_api.plugin_catalog import PluginNotReady
from stella_api.problems import problems
from stella_api.waiting import LONGEST_WAIT_SECONDS, seconds_of
from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import (
    BusUnavailable,
    ConfigRejected,
    DraftUnanswered,
    Problem,
    UnknownProvider,
)
from stella_contracts.health import FinishedDraft
from stella_contracts.integrations import Integration, IntegrationDraft
from stella_contracts.messages import RunDraftCheck
from stella_runtime.egress.origins import Origin, origin_text, parsed_origin
from stella_runtime.ids import new_id
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.topology import COMMANDS
from stella_runtime.persistence import Transaction
from stella_runtime.telemetry import tracing

router = APIRouter(prefix="/integrations", tags=["integrations"])

USERS_LIMIT = 1000
"""Of the integrations that share a secret, so many are compared with a draft."""

_ELSEWHERE = Problem(
    "/authRefUri",
    "This secret belongs to integrations or webhooks that are registered, and a draft may send it"
    " only where one of the same type does: name that one's URLs, or another reference.",
)


@router.post(
    "/test",
    responses=problems(
        UnknownProvider, PluginNotReady, ConfigRejected, BusUnavailable, DraftUnanswered, *COMMON
    ),
    openapi_extra={"requestBody": {"content": {"application/json": {"examples": CREATE_BODIES}}}},
)
async def check_draft(
    actor: Writer,
    draft: IntegrationDraft,
    request_id: RequestId,
    database: CurrentDatabase,
    bus: CurrentBus,
    waiting: CurrentWaiting,
    rules: CurrentRules,
    prefer: Annotated[
        str | None, Header(max_length=200, description="`wait=N`: N seconds; 30, if not less.")
    ] = None,
) -> FinishedDraft:
    """Check a connection before it is registered. Nothing but the audit log keeps it."""
    seconds = seconds_of(prefer) or LONGEST_WAIT_SECONDS
    async with database.transaction(actor.tenant_id) as transaction:
        command = await _accept(transaction, Call(actor, request_id), draft, rules, seconds)
    with waiting.expected(command.check_id) as reply:
        await bus.publish(
            Message(
                id=str(command.check_id),
                exchange=COMMANDS,
                routing_key=RunDraftCheck.queue,
                body=command.model_dump_json().encode(),
                headers=tracing.carried(),
            )
        )
        outcome = await reply.outcome(seconds)
    if outcome is None:
        raise DraftUnanswered(seconds)
    return FinishedDraft.model_validate(outcome)


async def _accept(
    transaction: Transaction, call: Call, draft: IntegrationDraft, rules: Rules, seconds: int
) -> RunDraftCheck:
    """Judge a draft as if it were to be registered. Raises ConfigRejected, or UnknownProvider."""
    schema = await rules.plugins.schema_of(draft.type, transaction.plugins)
    check_fields(dict(draft), schema, tenant_id=transaction.tenant_id, policy=rules.references)
    if draft.auth_ref_uri is not None:
        await _check_host(transaction, draft, draft.auth_ref_uri)
    check_id = new_id()
    reference = None if draft.auth_ref_uri is None else str(draft.auth_ref_uri)
    _tell(transaction, call, draft, check_id, reference)
    timeout = draft.check_timeout_seconds or schema.default_timeout_seconds
    return RunDraftCheck(
        check_id=check_id,
        tenant_id=transaction.tenant_id,
        request_id=call.request_id,
        provider_type=draft.type,
        config=draft.config,
        auth_ref_uri=reference,
        timeout_seconds=min(timeout, seconds),
        expires_at=datetime.now(UTC) + timedelta(seconds=seconds),
    )


async def _check_host(
    transaction: Transaction, draft: IntegrationDraft, reference: AuthRef
) -> None:
    """Raises ConfigRejected if the secret of something registered would go elsewhere."""
    users = await transaction.integrations.list_using(reference, limit=USERS_LIMIT)
    if any(_goes_where(draft, each) for each in users):
        return
    if users or await transaction.webhooks.is_signing_key(reference):
        raise ConfigRejected([_ELSEWHERE])


def _goes_where(draft: IntegrationDraft, stored: Integration) -> bool:
    # The type, too: its manifest may name hosts of its own.
    origins = _origins(stored.config)
    return draft.type == stored.type and _origins(draft.config).items() <= origins.items()


def _origins(config: Mapping[str, Any]) -> dict[str, Origin]:
    """Of every field that holds a URL, whether the plugin takes it for one of its hosts or not."""
    found = {name: parsed_origin(value) for name, value in config.items() if isinstance(value, str)}
    return {name: origin for name, origin in found.items() if origin is not None}


def _tell(
    transaction: Transaction,
    call: Call,
    draft: IntegrationDraft,
    check_id: UUID,
    reference: str | None,
) -> None:
    details = {
        "checkId": str(check_id),
        "type": draft.type,
        "endpoint": origin_text(draft.config),
        "authRefUri": reference,
    }
    transaction.audit_logs.add(
        "integration.draft_tested",
        actor=call.actor.subject,
        request_id=call.request_id,
        details={name: value for name, value in details.items() if value is not None},
    )
