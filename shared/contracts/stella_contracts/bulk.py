"""Integrations in bulk: the lines of an export, which an import takes, and what became of each."""

from enum import StrEnum
from uuid import UUID

from pydantic import Field, JsonValue

from stella_contracts.integrations import Integration
from stella_contracts.model import Answer


class ExportedIntegration(Answer):
    """One line of an export: what registers the same integration."""

    type: str
    name: str
    description: str = ""
    config: dict[str, JsonValue]
    auth_ref_uri: str | None = None
    tags: list[str] = []
    enabled: bool = True
    check_interval_seconds: int
    check_timeout_seconds: int
    failure_threshold: int
    success_threshold: int

    @classmethod
    def of(cls, integration: Integration) -> "ExportedIntegration":
        return cls.model_validate(integration, from_attributes=True)


class ImportOutcome(StrEnum):
    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"


class ImportProblem(Answer):
    """One thing that is wrong with a line: where in it, and what to do."""

    pointer: str = ""
    detail: str


class ImportedLine(Answer):
    """What became of one line, or would become of it."""

    line: int = Field(description="Counted from 1, blank ones included.")
    outcome: ImportOutcome
    id: UUID | None = Field(default=None, description="Null if it failed, and in a dry run.")
    name: str | None = None
    error_code: str | None = None
    problems: list[ImportProblem] = []


class ImportResult(Answer):
    """What became of an import, line by line."""

    dry_run: bool
    created: int
    updated: int
    unchanged: int
    failed: int
    lines: list[ImportedLine]
