"""The catalog's records: what clients send, what they get."""

import re
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StrictBool,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from stella_contracts.auth_ref import AuthRefText
from stella_contracts.health import IntegrationStatus
from stella_contracts.json_values import storable
from stella_contracts.model import Answer, Request, UtcDatetime

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_BUT_LAYOUT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def _printable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("Control characters, NUL among them, are not allowed.")
    return text


def _printable_lines(text: str) -> str:
    if _CONTROL_BUT_LAYOUT.search(text):
        raise ValueError("Control characters other than tab and line ends are not allowed.")
    return text


def _distinct(tags: list[str]) -> list[str]:
    return sorted(set(tags))


PROVIDER_TYPE_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
ProviderType = Annotated[str, StringConstraints(pattern=PROVIDER_TYPE_PATTERN, max_length=64)]
"""`harbor`, `github-app`: lower case, hyphens, no dot (it is part of routing keys)."""

TENANT_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
TenantId = Annotated[str, StringConstraints(pattern=TENANT_PATTERN)]
"""`acme`: lower case, no dot (it is part of routing keys)."""

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, strip_whitespace=True),
    AfterValidator(_printable),
]
Description = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_printable_lines)]
Config = Annotated[dict[str, JsonValue], BeforeValidator(storable)]
"""What the plugin is told, of values that a database can keep."""
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}$")]
Tags = Annotated[list[Tag], Field(max_length=32), AfterValidator(_distinct)]
IntervalSeconds = Annotated[int, Field(ge=30, le=86400, strict=True)]
TimeoutSeconds = Annotated[int, Field(ge=1, le=60, strict=True)]
Threshold = Annotated[int, Field(ge=1, le=20, strict=True)]


class Connection(Answer):
    """What the plugin made of the endpoint. Null until the first check has run."""

    api_root: str | None = None


class Integration(Answer):
    """A registered connection to an external tool."""

    id: UUID
    type: ProviderType
    name: str
    description: str = ""
    config: dict[str, JsonValue]
    auth_ref_uri: str | None = None
    connection: Connection | None = None
    status: IntegrationStatus
    enabled: bool
    tags: list[str]
    check_interval_seconds: int
    check_timeout_seconds: int
    failure_threshold: int
    success_threshold: int
    created_at: UtcDatetime
    updated_at: UtcDatetime
    version: int


class IntegrationPage(Answer):
    """Some integrations, and where the next ones begin."""

    items: list[Integration]
    next_cursor: str | None = None


class IntegrationCreate(Request):
    """What registers an integration. Interval and timeout default to the plugin manifest's."""

    type: ProviderType
    name: Name
    description: Description = ""
    config: Config = Field(
        default_factory=dict, description="Checked against the plugin's config schema."
    )
    auth_ref_uri: AuthRefText | None = None
    tags: Tags = []
    enabled: StrictBool = True
    check_interval_seconds: IntervalSeconds | None = None
    check_timeout_seconds: TimeoutSeconds | None = None
    failure_threshold: Threshold = 3
    success_threshold: Threshold = 2


class IntegrationDraft(IntegrationCreate):
    """What would register an integration, to be checked first. Its name does not matter."""

    name: Name = "draft"


class IntegrationUpdate(Request):
    """
    What changes an integration. A field that is left out stays as it is; `authRefUri: null`
    removes the reference. The type of an integration never changes.
    """

    name: Name | None = None
    description: Description | None = None
    config: Config | None = None
    auth_ref_uri: AuthRefText | None = None
    tags: Tags | None = None
    enabled: StrictBool | None = None
    check_interval_seconds: IntervalSeconds | None = None
    check_timeout_seconds: TimeoutSeconds | None = None
    failure_threshold: Threshold | None = None
    success_threshold: Threshold | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _only_the_reference_can_be_removed(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name != "auth_ref_uri":
            raise ValueError("It may not be null. Leave it out to keep it as it is.")
        return value

    @property
    def changes(self) -> dict[str, Any]:
        """The fields that were sent, by their Python names. Only `auth_ref_uri` may be None."""
        return {name: getattr(self, name) for name in self.model_fields_set}
