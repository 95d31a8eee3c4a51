"""The interface of a connector plugin, and what the host lends it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol
from uuid import UUID

import httpx

from stella_contracts.errors import Problem
from stella_contracts.health import ErrorCode, HealthResult, Step, StepResult
from stella_contracts.integrations import Connection

API_VERSION = 1
"""The version of this interface. A manifest names the one it was written for."""


class Secret:
    """A resolved secret. Its text forms are masked, so that a log or traceback cannot show it."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = dict(fields)

    def get(self, name: str) -> str | None:
        """The value of one field, or None."""
        return self._fields.get(name)

    @property
    def value(self) -> str:
        """The only field of a secret that has one. Raises CheckFailed for any other."""
        if len(self._fields) != 1:
            raise CheckFailed(
                ErrorCode.SECRET_UNRESOLVABLE,
                "The reference names a secret of several fields. Add #field to authRefUri.",
            )
        return next(iter(self._fields.values()))

    @property
    def field_names(self) -> Sequence[str]:
        return sorted(self._fields)

    @property
    def values(self) -> Sequence[str]:
        """Every value, for the host to scrub from what leaves."""
        return list(self._fields.values())

    def __repr__(self) -> str:
        return f"Secret(fields={self.field_names})"


@dataclass(frozen=True, slots=True)
class IntegrationConfig:
    """The integration that is checked, as far as a plugin needs to know it."""

    integration_id: UUID
    provider_type: str
    settings: Mapping[str, Any]
    """The `config` of the record; it passed the manifest's schema and `validate_config`."""

    checks_before: int = 0
    """How many checks of this configuration were counted before this one."""

    connection: Connection | None = None
    """What `validate_config` made of `settings`, so that a check need not do it again."""


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What a plugin says of a config: problems, or what it made of the endpoint."""

    problems: Sequence[Problem] = ()
    """With pointers into the config, such as `/endpoint`."""

    connection: Connection | None = None


class CheckFailed(Exception):
    """Raised in `check_health` to end the check as unhealthy, from however deep."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Logger(Protocol):
    """A structured log. Events are past-tense keys (`token_renewed`), the rest are fields."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...


class Steps:
    """The steps of one check, in the order in which they were taken."""

    def __init__(self) -> None:
        self.taken: list[Step] = []

    def add(self, name: str, result: StepResult, seconds: float = 0.0) -> None:
        self.taken.append(Step(name=name, result=result, ms=round(seconds * 1000, 3)))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step. It failed if the block raises, and passed otherwise."""
        started = time.perf_counter()
        try:
            yield
        except BaseException:
            self.add(name, StepResult.FAILED, time.perf_counter() - started)
            raise
        self.add(name, StepResult.PASSED, time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class PluginContext:
    """What the host lends a plugin for one call."""

    http: httpx.AsyncClient
    """Bound to the integration's egress policy. Does not follow redirects, keeps no cookies."""

    log: Logger
    deadline: float
    """When the call is cancelled, in seconds of the event loop's clock."""

    secret: Secret | None = None
    """What authRefUri refers to, or None if the integration has none."""

    steps: Steps = field(default_factory=Steps)


class IntegrationPlugin(Protocol):
    """
    Checks one kind of external tool.

    One instance serves many integrations at once, so it keeps no state of a call. The host
    owns the deadline, the clock, the HTTP client, retries and metrics. Cancelling works at
    every await. An `httpx.HTTPError` that escapes is taken as the provider's failure and
    given its error code; any other exception but CheckFailed is a defect of the plugin
    (`plugin_error`).
    """

    provider_type: ClassVar[str]

    async def check_health(
        self, integration: IntegrationConfig, context: PluginContext
    ) -> HealthResult:
        """Ask the provider how it is. Must fail when the credential is wrong."""
        ...

    async def validate_config(self, config: Mapping[str, Any]) -> ValidationResult:
        """Judge a config beyond its schema, and normalise its endpoint. Opens no connection."""
        ...
