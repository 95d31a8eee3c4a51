"""Mutes: alerts that are not to be sent for a while. A maintenance window is one of the future."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from stella_contracts.integrations import PROVIDER_TYPE_PATTERN
from stella_contracts.model import Answer, Request, UtcDatetime

LONGEST_MUTE = timedelta(days=90)
FURTHEST_START = timedelta(days=366)


class MuteCreate(Request):
    """
    What is to be muted, and until when.

    An integration is muted if it is what every selector that is given says; with none, all
    integrations of the tenant are.
    """

    integration_id: UUID | None = None
    type: Annotated[
        str | None, Field(pattern=PROVIDER_TYPE_PATTERN, max_length=64, examples=["harbor"])
    ] = None
    tag: Annotated[str | None, Field(min_length=1, max_length=64, examples=["eu"])] = None
    reason: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)
    ] = Field(examples=["Upgrade of the registry"])
    starts_at: UtcDatetime | None = Field(
        default=None, description="Now, if left out; at most a year ahead."
    )
    ends_at: UtcDatetime = Field(description="At most 90 days after its start.")


class Mute(Answer):
    """Checks and history go on; no alert of what it selects is sent before its end."""

    id: UUID
    integration_id: UUID | None = None
    type: str | None = None
    tag: str | None = None
    reason: str
    starts_at: UtcDatetime
    ends_at: UtcDatetime
    created_by: str
    created_at: UtcDatetime


class MutePage(Answer):
    """A page of mutes that have not ended, the newest first."""

    items: list[Mute]
    next_cursor: str | None = None
