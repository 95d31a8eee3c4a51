"""
A connector to nothing, whose checks find what the config says.

For tests, demonstrations and work without a network, and the template to copy: the parts
that every plugin has are here, and what is particular to this one is in `script`.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import ValidationError

from stella_contracts.health import HealthResult, HealthStatus
from stella_contracts.plugin import (
    CheckFailed,
    IntegrationConfig,
    IntegrationPlugin,
    PluginContext,
    ValidationResult,
)
from stella_contracts.problems import problems_of
from stella_plugin_in_memory.script import Entry, Script


class InMemoryPlugin:
    # One object serves every integration of its type at once, so nothing is kept in `self`.
    provider_type: ClassVar[str] = "in-memory"

    async def validate_config(self, config: Mapping[str, Any]) -> ValidationResult:
        try:
            Script.model_validate(config)
        except ValidationError as error:
            return ValidationResult(problems=problems_of(error))
        return ValidationResult()

    async def check_health(
        self, integration: IntegrationConfig, context: PluginContext
    ) -> HealthResult:
        entry = Script.model_validate(integration.settings).entry_of(integration.checks_before)

        # The host times each step, and shows which one failed.
        with context.steps.step("request"):
            return await _ask(entry)


async def _ask(entry: Entry) -> HealthResult:
    """Where another plugin would use `context.http`."""
    if entry.hang:
        # No timeout here: the host cancels at the deadline.
        await asyncio.Event().wait()
    await asyncio.sleep((entry.latency_ms or 0) / 1000)
    status, code = entry.finding
    if code is None:
        return HealthResult(status=status)
    message = f"Scripted: {code}"
    if status is HealthStatus.UNHEALTHY:
        raise CheckFailed(code, message)
    return HealthResult(status=status, error_code=code, error_message=message)


# Lets the type checker compare the class with the interface.
_: type[IntegrationPlugin] = InMemoryPlugin
