"""The step of a trace that reads or changes the catalog."""

from typing import Literal

from stella_runtime.telemetry import tracing
from stella_runtime.telemetry.spans import Span

_TOLD = {
    "create": "integration.created",
    "read": "integration.read",
    "list": "integration.listed",
    "update": "integration.updated",
    "delete": "integration.deleted",
}
"""As the audit log and the events call it."""

Action = Literal["create", "read", "list", "update", "delete"]


def crud_span(action: Action, tenant_id: str) -> Span:
    """The span of one action. What it announces goes on in its trace."""
    return tracing.span(f"{action} integration", action=_TOLD[action], tenant_id=tenant_id)
