"""
Runs checks side by side, so that none waits for a target that is not its own.

A check first waits until its host and its tenant have room, which costs the others nothing,
then for a slot of its lane. One that takes long moves to the slow lane, and what is left of a
message is set aside when it would keep the rest of the queue waiting.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import structlog

from stella_contracts.errors import StellaError, Unavailable
from stella_health_worker.breakers import Breakers, Refusal
from stella_health_worker.check_span import about
from stella_health_worker.findings import not_asked
from stella_health_worker.limits import Key, Limits
from stella_health_worker.runs import MARGIN_SECONDS, Run, Stage, begun
from stella_health_worker.tasks import end
from stella_runtime.egress.origins import Host, host_of
from stella_runtime.persistence.scheduling import Outcome, Target

log = structlog.get_logger()

PATIENCE_SECONDS = 0.25
"""A check that runs longer goes on in the slow lane, and keeps no message waiting."""
LAG = 2.0
"""So many times the patience, and the wait for it says more of this worker than of the targets."""
ASIDE_LIMIT = 1000
"""Checks whose message is settled. With so many, messages wait for their checks again."""


class Prober(Protocol):
    async def probe(self, target: Target) -> Outcome: ...


class Recorder(Protocol):
    async def record(self, outcome: Outcome) -> None: ...


class Leases(Protocol):
    """The leases of checks, each call a transaction."""

    @property
    def margin(self) -> timedelta: ...
    async def renew(self, targets: Sequence[Target]) -> set[UUID]: ...
    async def release(self, targets: Sequence[Target]) -> None: ...


class Counters(Protocol):
    def check_refused(self) -> None: ...
    def check_given_up(self, reason: str) -> None: ...
    def checks_aside(self, checks: int) -> None: ...


class Lanes:
    """The checks of one worker."""

    def __init__(
        self,
        *,
        prober: Prober,
        recorder: Recorder,
        leases: Leases,
        limits: Limits,
        breakers: Breakers,
        counters: Counters,
        live: int,
        slow: int,
        worker: str,
        now: Callable[[], datetime],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._prober = prober
        self._recorder = recorder
        self._leases = leases
        self._limits = limits
        self._breakers = breakers
        self._counters = counters
        self.live = asyncio.Semaphore(live)
        self.slow = asyncio.Semaphore(slow)
        self._worker = worker
        self._now = now
        self._patience_seconds = patience_seconds
        self._aside: dict[asyncio.Task[None], Run] = {}
        self._stopping = False

    async def run(self, targets: Sequence[Target], *, slow: bool = False) -> None:
        """
        Run scheduled checks until each is recorded, or can be left to run under its lease.

        Raises what kept one of them from being recorded, when all have ended.
        """
        loop = asyncio.get_running_loop()
        lane = self.slow if slow else self.live
        runs = {
            loop.create_task(self._run(run)): run
            for run in (begun(target, lane, loop.time()) for target in targets)
        }
        pending = set(runs)
        try:
            while pending:
                asked = loop.time()
                _, pending = await asyncio.wait(pending, timeout=self._patience_seconds)
                if loop.time() - asked > LAG * self._patience_seconds:
                    # It is this worker that is slow. More at once would only make it slower.
                    continue
                if pending and await self._set_aside({task: runs[task] for task in pending}):
                    break
        except asyncio.CancelledError:
            await end([task for task in pending if task not in self._aside])
            raise
        errors = [error for task in runs.keys() - pending if (error := task.exception())]
        if errors:
            raise errors[0]

    async def run_now(self, target: Target) -> None:
        """Run a check that somebody asked for: it waits for nothing, and passes a breaker."""
        host = host_of(target.config)
        keys = () if host is None else (host,)
        self._limits.insist(keys)
        if host is not None:
            self._breakers.admit(host, target.tenant_id, insisting=True)
        try:
            outcome = await self._probe(target, host)
        finally:
            self._limits.leave(keys)
        await self._recorder.record(outcome)

    async def drain(self, seconds: float) -> None:
        """
        Let what is set aside end, for so long; then end it, and give its leases back.

        From now on nothing is set aside: the messages are drained by those who took them.
        """
        self._stopping = True
        if self._aside:
            await asyncio.wait(self._aside, timeout=seconds)
        if not (left := dict(self._aside)):
            return
        await end(list(left))
        log.info("checks_handed_back", checks=len(left))
        try:
            await self._leases.release([run.target for run in left.values()])
        except Unavailable as error:
            log.warning("leases_not_released", checks=len(left), reason=str(error))

    async def _run(self, run: Run) -> None:
        if not await self._enter(run):
            return
        host = run.host
        try:
            refusal = None if host is None else self._breakers.admit(host, run.target.tenant_id)
            outcome = None if refusal is not None else await self._in_lane(run)
        finally:
            self._limits.leave(run.keys)
        if refusal is not None:
            await self._refuse(run, refusal)
        elif outcome is not None:
            run.stage = Stage.RECORDING
            await self._recorder.record(outcome)

    async def _enter(self, run: Run) -> bool:
        """Wait for room. A host that is shut out is not waited for."""
        tenant_id, host = run.target.tenant_id, run.host
        # Who is in the slow lane from the start takes nothing away from its tenant.
        keys: tuple[Key, ...] = () if run.lane is self.slow else (tenant_id,)
        if host is not None:
            keys = (host, *keys)
        if self._limits.try_enter(keys):
            run.keys = keys
            return True
        refusal = None if host is None else self._breakers.refusal(host, tenant_id)
        if refusal is not None:
            await self._refuse(run, refusal)
            return False
        loop = asyncio.get_running_loop()
        run.stage = Stage.HELD_UP
        while not await self._limits.enter(keys, run.start_by - loop.time()):
            # Its lease may have been renewed meanwhile.
            if loop.time() >= run.start_by:
                self._give_up(run.target, "held_up")
                return False
        run.stage = Stage.QUEUED
        run.keys = keys
        if run.lane is self.slow:
            self._leave_tenant(run)
        return True

    def _leave_tenant(self, run: Run) -> None:
        if run.target.tenant_id in run.keys:
            self._limits.leave((run.target.tenant_id,))
            run.keys = () if run.host is None else (run.host,)

    async def _in_lane(self, run: Run) -> Outcome | None:
        loop = asyncio.get_running_loop()
        await run.lane.acquire()
        try:
            run.started = loop.time()
            if run.started > run.start_by:
                self._give_up(run.target, "worker_busy")
                if run.host is not None:
                    self._breakers.forget(run.host, run.target.tenant_id)
                return None
            run.stage = Stage.RUNNING
            return await self._probe(run.target, run.host)
        finally:
            # Of the lane in which it is now.
            run.lane.release()

    async def _probe(self, target: Target, host: Host | None) -> Outcome:
        if host is None:
            return await self._prober.probe(target)
        try:
            outcome = await self._prober.probe(target)
        except BaseException:
            self._breakers.forget(host, target.tenant_id)
            raise
        self._breakers.note(host, target.tenant_id, outcome)
        return outcome

    async def _refuse(self, run: Run, refusal: Refusal) -> None:
        """The host was not asked: that is a result too, and its reason can be read."""
        self._counters.check_refused()
        run.stage, now = Stage.RECORDING, self._now()
        await self._recorder.record(
            Outcome(
                target=run.target,
                result=not_asked(refusal, now),
                connection=None,
                latency_ms=0,
                steps=[],
                checked_at=now,
                worker=self._worker,
            )
        )

    def _give_up(self, target: Target, reason: str) -> None:
        self._counters.check_given_up(reason)  # Its lease ends, and it is due again.
        log.info("check_given_up", **about(target), reason=reason)

    async def _set_aside(self, runs: dict[asyncio.Task[None], Run]) -> bool:
        """Let checks go on without their message, if that is all that it waits for."""
        now = asyncio.get_running_loop().time()
        for run in runs.values():
            if self._is_slow(run, now):
                await self._move_to_slow(run)
        if not all(run.lane is self.slow and self._is_slow(run, now) for run in runs.values()):
            return False
        if self._stopping or len(self._aside) + len(runs) > ASIDE_LIMIT:
            return False
        try:
            # From here on the lease alone brings a check back, so it must hold long enough.
            held = await self._leases.renew([run.target for run in runs.values()])
        except Unavailable as error:
            log.warning("leases_not_renewed", checks=len(runs), reason=str(error))
            return False
        for task, run in runs.items():
            run.start_by = now + self._leases.margin.total_seconds() - MARGIN_SECONDS
            self._aside[task] = run
            task.add_done_callback(self._ended_aside)
            if run.target.integration_id not in held:
                # Paused, changed or claimed again: nobody waits for what it would find.
                task.cancel()
        self._counters.checks_aside(len(self._aside))
        return True

    def _is_slow(self, run: Run, now: float) -> bool:
        if run.stage is Stage.HELD_UP:
            return True
        # It may have begun a little after its message.
        return run.stage is Stage.RUNNING and now >= run.started + self._patience_seconds / 2

    async def _move_to_slow(self, run: Run) -> None:
        if run.stage is Stage.HELD_UP:
            run.lane = self.slow
        elif run.lane is self.live and not self.slow.locked():
            await self.slow.acquire()
            run.lane = self.slow
            self.live.release()
            self._leave_tenant(run)

    def _ended_aside(self, task: asyncio.Task[None]) -> None:
        run = self._aside.pop(task)
        self._counters.checks_aside(len(self._aside))
        if task.cancelled() or (error := task.exception()) is None:
            return
        self._counters.check_given_up("not_stored")
        log.warning(
            "check_not_stored",
            **about(run.target),
            reason=str(error) if isinstance(error, StellaError) else type(error).__name__,
        )
