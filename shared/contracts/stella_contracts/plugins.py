"""The plugin catalog, as clients see it."""

from enum import StrEnum
from typing import Any
from uuid import UUID

from stella_contracts.model import Answer, UtcDatetime


class PluginTrust(StrEnum):
    """How far the hub trusts a plugin's code."""

    BUILT_IN = "built_in"
    UNTRUSTED = "untrusted"


class PluginState(StrEnum):
    """Whether a plugin can be used."""

    READY = "ready"
    REFUSED = "refused"
    """Well-formed, and policy keeps it from running; `lastError` says why."""
    ERROR = "error"
    """Its manifest or folder cannot be accepted; `lastError` says why."""
    CONFLICT = "conflict"
    """Another plugin provides the same type already."""
    REMOVED = "removed"
    """It was registered once and is no longer found."""


class Plugin(Answer):
    """A plugin that a scan has found."""

    plugin_id: str
    type: str | None
    name: str
    version: str | None
    capabilities: list[str]
    path: str
    trust: PluginTrust
    state: PluginState
    last_error: str | None = None
    digest: str | None = None
    config_schema: dict[str, Any] | None = None
    identity_fields: list[str] = []
    secret_fields: list[str] = []
    default_interval_seconds: int | None = None
    default_timeout_seconds: int | None = None
    seen_at: UtcDatetime


class PluginList(Answer):
    """Every plugin known, the broken ones included. There are few: no paging."""

    items: list[Plugin]


class ScanSummary(Answer):
    """What a scan has changed."""

    scan_id: UUID
    found: int
    registered: list[str]
    updated: list[str]
    removed: list[str]
    failed: list[str]


class ScanAccepted(Answer):
    """The scan will run, or is running already."""

    scan_id: UUID
