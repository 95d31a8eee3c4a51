"""The config of the plugin: what each check is to find."""

from hashlib import sha256
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from stella_contracts.health import ErrorCode, HealthStatus

_STATUS_OF = {
    ErrorCode.RATE_LIMITED: HealthStatus.DEGRADED,
    ErrorCode.CREDENTIAL_EXPIRING: HealthStatus.DEGRADED,
    ErrorCode.NOT_SUPPORTED: HealthStatus.UNKNOWN,
}
"""What an error code means by itself; any other is unhealthy."""

Latency = Annotated[int, Field(ge=0, le=60_000)]


class _Settings(BaseModel):
    # A field that is misspelt is a problem, not a surprise.
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


class Entry(_Settings):
    """What one check is to find: healthy, unless something else is said."""

    status: HealthStatus | None = None
    error_code: ErrorCode | None = None
    random: bool = False
    latency_ms: Latency | None = None
    hang: bool = False

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.random and (self.status or self.error_code):
            raise ValueError("A random entry finds what it finds. Leave out status and errorCode.")
        if self.error_code and self.status is HealthStatus.HEALTHY:
            raise ValueError("A healthy entry has no errorCode.")
        only = _STATUS_OF.get(self.error_code) if self.error_code else None
        if only and self.status not in (None, only):
            raise ValueError(f"{self.error_code} is always {only}. Leave out status.")
        return self

    @property
    def finding(self) -> tuple[HealthStatus, ErrorCode | None]:
        """Status and error code, each by the other where one of them is missing."""
        if self.error_code:
            status = self.status or _STATUS_OF.get(self.error_code, HealthStatus.UNHEALTHY)
            return status, self.error_code
        if self.status in (HealthStatus.DEGRADED, HealthStatus.UNHEALTHY):
            return self.status, ErrorCode.REMOTE_ERROR
        return self.status or HealthStatus.HEALTHY, None


def _entry(value: Any) -> Any:
    """Spell out a word: `"timeout"` is `{"errorCode": "timeout"}`."""
    if not isinstance(value, str):
        return value
    if value == "random":
        return {"random": True}
    return {"status" if value in set(HealthStatus) else "errorCode": value}


class Script(_Settings):
    """What every check is to find."""

    script: list[Annotated[Entry, BeforeValidator(_entry)]] = Field(default=[], max_length=1000)
    repeat: bool = False
    latency_ms: Latency = 0
    failure_rate: float | None = Field(default=None, ge=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.failure_rate is None and any(entry.random for entry in self.script):
            raise ValueError("A script with random entries needs failureRate.")
        return self

    def entry_of(self, check: int) -> Entry:
        """
        What the check of that number, counted from 0, is to find.

        A function of the config and the number alone, so every worker finds the same.
        """
        if not self.script:
            entry = Entry(random=True)
        elif self.repeat:
            entry = self.script[check % len(self.script)]
        else:
            entry = self.script[min(check, len(self.script) - 1)]
        if entry.random:
            found = HealthStatus.UNHEALTHY if self._fails(check) else HealthStatus.HEALTHY
            entry = entry.model_copy(update={"random": False, "status": found})
        if entry.latency_ms is None:
            entry = entry.model_copy(update={"latency_ms": self.latency_ms})
        return entry

    def _fails(self, check: int) -> bool:
        # A hash and not `random`, whose numbers may differ between versions of Python.
        drawn = sha256(f"{self.seed}/{check}".encode()).digest()
        return int.from_bytes(drawn[:4], "big") / 2**32 < (self.failure_rate or 0)
