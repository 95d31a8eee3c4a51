"""The conformance suite that a plugin author inherits, and what tests of a plugin need."""

from stella_contracts.testing.conformance import PluginConformance
from stella_contracts.testing.provider import Provider, SilentProvider
from stella_contracts.testing.subject import (
    Found,
    NotConforming,
    RecordingLog,
    Subject,
    a_context,
    an_integration,
)

__all__ = [
    "Found",
    "NotConforming",
    "PluginConformance",
    "Provider",
    "RecordingLog",
    "SilentProvider",
    "Subject",
    "a_context",
    "an_integration",
]
