"""What callers may say and see of references to secrets."""

from collections.abc import Sequence
from typing import TypeVar

import orjson

from stella_api.authentication import Actor
from stella_contracts.auth_ref import SCHEME, AuthRef
from stella_contracts.errors import AuthRefForbidden, Problem
from stella_contracts.integrations import Integration
from stella_contracts.webhooks import Webhook
from stella_runtime.secrets import AuthRefPolicy

SEEING = {"integrations:write", "integrations:operate", "integrations:admin"}
"""With one of these scopes a caller sees whole references; without, the vaults' names."""


RecordT = TypeVar("RecordT", Integration, Webhook)


def problems_of_reference(
    policy: AuthRefPolicy, tenant_id: str, reference: AuthRef | None
) -> list[Problem]:
    """What the policy has against a tenant's naming a reference."""
    if reference is None or policy.allows(tenant_id, reference):
        return []
    return [Problem("/authRefUri", str(AuthRefForbidden(policy.rules_of(tenant_id))))]


def seen_reference(actor: Actor, text: str | None) -> str | None:
    """As much of a stored reference as a caller may see. What is cut is no reference any more."""
    if text is None or actor.scopes & SEEING:
        return text
    vault, _, _ = text.removeprefix(SCHEME).partition("/")
    return f"{SCHEME}{vault}/\N{HORIZONTAL ELLIPSIS}"


def seen(actor: Actor, records: Sequence[RecordT]) -> list[RecordT]:
    """Records as a caller may see them."""
    if actor.scopes & SEEING:
        return list(records)
    return [
        each.model_copy(update={"auth_ref_uri": seen_reference(actor, each.auth_ref_uri)})
        for each in records
    ]


def as_seen(actor: Actor, text: str, auth_ref_uri: str | None) -> str:
    """A record that is JSON without its reference, with as much of that as a caller may see."""
    if auth_ref_uri is None:
        return f'{text[:-1]},"authRefUri":null}}'
    reference = orjson.dumps(seen_reference(actor, auth_ref_uri)).decode()
    return f'{text[:-1]},"authRefUri":{reference}}}'
