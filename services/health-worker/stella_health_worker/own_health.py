"""
Whether a failure is ours: this worker has no way out, or a vault is gone for everyone.

What fails meanwhile is recorded as unknown with that reason, counts for nobody's outage, and
is told once, about us.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import structlog

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import MalformedAuthRef, Unavailable
from stella_contracts.health import ErrorCode, HealthResult, HealthStatus, StepResult
from stella_health_worker.breakers import NOT_ASKED
from stella_health_worker.hub_conditions import forget, see
from stella_health_worker.reach import Reach
from stella_runtime.egress.origins import host_of
from stella_runtime.persistence import Database
from stella_runtime.persistence.scheduling import Outcome, Target

log = structlog.get_logger()

EGRESS = "egress"
ROUND_SECONDS = 5.0
VAULTS_LIMIT = 100

_REASON_OF_EGRESS = "This worker has no way out to any host"


class Prober(Protocol):
    async def probe(self, target: Target) -> Outcome: ...


class Recorder(Protocol):
    async def record(self, outcome: Outcome) -> None: ...


class Canary(Protocol):
    async def sings(self) -> bool: ...


class Gauges(Protocol):
    def hub_condition(self, condition: str, *, is_so: bool) -> None: ...


class OwnHealth:
    """Watches what all checks of a worker meet. Stands between the prober and the recorder."""

    def __init__(
        self,
        prober: Prober,
        recorder: Recorder,
        *,
        canary: Canary | None,
        gauges: Gauges,
        worker: str,
        now: Callable[[], float],
    ) -> None:
        self._prober = prober
        self._recorder = recorder
        self._canary = canary
        self._gauges = gauges
        self._worker = worker
        self._now = now
        self._hosts = Reach(now)
        self._vaults: dict[str, Reach] = {}
        self._lost: dict[str, str] = {}
        """What is wrong now, with its reason."""
        self._told: set[str] = set()

    async def probe(self, target: Target) -> Outcome:
        """Run a check, and learn from what it met."""
        outcome = await self._prober.probe(target)
        self._learn(outcome)
        return outcome

    async def record(self, outcome: Outcome) -> None:
        """Record an outcome, as unknown if it is our own failure."""
        reason = await self._reason_of(outcome)
        if reason is not None:
            message = outcome.result.error_message or "No details"
            unknown = HealthResult(
                status=HealthStatus.UNKNOWN,
                error_code=outcome.result.error_code,
                error_message=f"{reason}. {message}"[:500],
            )
            outcome = replace(outcome, result=unknown)
        await self._recorder.record(outcome)

    @asynccontextmanager
    async def telling(self, database: Database) -> AsyncIterator[None]:
        """Tell the hub what is wrong with this worker, and when it is over, while inside."""
        task = asyncio.create_task(self._keep_told(database))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_told(self, database: Database) -> None:
        while True:
            await asyncio.sleep(ROUND_SECONDS)
            try:
                await self.tell(database)
            except Unavailable as error:
                log.warning("own_health_not_told", reason=str(error))

    async def tell(self, database: Database) -> None:
        """One round."""
        await self._look_again()
        for condition, reason in list(self._lost.items()):
            await see(database, condition, self._worker, reason)
            self._told.add(condition)
        for condition in self._told - self._lost.keys():
            await forget(database, condition, self._worker)
            self._told.discard(condition)

    def _learn(self, outcome: Outcome) -> None:
        target, code = outcome.target, outcome.result.error_code
        if (vault := _vault_of(target)) is not None and len(self._vaults) < VAULTS_LIMIT:
            # A vault that one tenant alone cannot read is that tenant's.
            reach = self._vaults.setdefault(vault, Reach(self._now, least_tenants=2))
            failed = code is ErrorCode.SECRET_UNRESOLVABLE
            reach.note(target.auth_ref_uri, target.tenant_id, failed=failed)
        if self._canary is not None or code in NOT_ASKED:
            return
        if (host := host_of(target.config)) is not None:
            self._hosts.note(host, target.tenant_id, failed=_is_unreached(outcome))

    async def _reason_of(self, outcome: Outcome) -> str | None:
        """Why a failure is ours, or None. Asks nobody about what did not fail."""
        if outcome.result.error_code is ErrorCode.SECRET_UNRESOLVABLE:
            vault = _vault_of(outcome.target)
            return None if vault is None else self._look_at_vault(vault)
        if _is_unreached(outcome):
            return await self._look_at_egress()
        return None

    async def _look_again(self) -> None:
        if EGRESS in self._lost:
            await self._look_at_egress()
        for condition in list(self._lost):
            if condition != EGRESS:
                self._look_at_vault(condition.partition(":")[2])

    async def _look_at_egress(self) -> str | None:
        if self._canary is not None:
            is_lost = not await self._canary.sings()
        else:
            is_lost = self._hosts.is_lost()
        return self._set(EGRESS, _REASON_OF_EGRESS, is_lost=is_lost)

    def _look_at_vault(self, vault: str) -> str | None:
        reach = self._vaults.get(vault)
        is_lost = reach is not None and reach.is_lost()
        reason = f"This worker can read nothing from the vault {vault!r}"
        return self._set(f"vault:{vault}", reason, is_lost=is_lost)

    def _set(self, condition: str, reason: str, *, is_lost: bool) -> str | None:
        if is_lost != (condition in self._lost):
            self._gauges.hub_condition(condition, is_so=is_lost)
            log.warning("own_health_changed", condition=condition, lost=is_lost)
        if is_lost:
            self._lost[condition] = reason
            return reason
        self._lost.pop(condition, None)
        return None


def _is_unreached(outcome: Outcome) -> bool:
    """Whether nothing says that the host was there."""
    code = outcome.result.error_code
    if code in {ErrorCode.DNS, ErrorCode.CONNECT}:
        return True
    return code is ErrorCode.TIMEOUT and not any(
        step.name == "connect" and step.result is StepResult.PASSED for step in outcome.steps
    )


def _vault_of(target: Target) -> str | None:
    return None if target.auth_ref_uri is None else _vault_in(target.auth_ref_uri)


@lru_cache(16_384)
def _vault_in(reference: str) -> str | None:
    try:
        return AuthRef.parse(reference).vault
    except MalformedAuthRef:
        return None
