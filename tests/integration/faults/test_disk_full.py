"""The database's disk is full: writes say so, reads go on, and room is all it takes to recover."""

import asyncio
import base64
import os

import pytest
from tests.integration.faults.served import (
    Callers,
    assert_nothing_is_half_written,
    calling,
    closing,
    rows,
    served,
)
from tests.support.api import Authority
from tests.support.builders import a_config
from tests.support.catalog import claim, outcome, register
from tests.support.disk import Disk

from stella_contracts.errors import DatabaseUnavailable
from stella_contracts.health import HealthResult, Step, StepResult
from stella_health_worker.recording import Recorder
from stella_runtime.persistence import Database, open_engine
from stella_runtime.persistence.scheduling import Outcome, Target
from stella_runtime.telemetry.metrics import Metrics


def a_large_config() -> dict[str, object]:
    """So large that it takes new room, and of what cannot be compressed."""
    words = [base64.b64encode(os.urandom(48)).decode() for _ in range(500)]
    return a_config(labels={"words": " - ".join(words)})


async def test_writes_are_refused_and_reads_served_while_the_disk_is_full(
    disk: Disk, authority: Authority
) -> None:
    async with served(disk.url, authority) as system:
        callers = Callers(system.hub.client(), fields={"config": a_large_config()})
        async with calling(callers, writers=3):
            await callers.reach(10)
            await asyncio.to_thread(disk.fill)
            await callers.meet(503)
            await callers.meet(503)
            callers.reads.clear()
            await callers.meet(503)
            reads = dict(callers.reads)
            await asyncio.to_thread(disk.free)
            await callers.reach(10)
        await system.announces(set(callers.acknowledged.values()))

    assert reads.keys() == {200}
    assert_nothing_is_half_written(disk.url, callers.acknowledged)


def with_long_steps(target: Target) -> Outcome:
    steps = [Step(name=os.urandom(32).hex(), result=StepResult.PASSED, ms=1) for _ in range(60)]
    return outcome(target, HealthResult.healthy(), steps=steps)


async def record_each(recorder: Recorder, outcomes: list[Outcome]) -> None:
    for each in outcomes:
        await recorder.record(each)


async def test_a_result_that_finds_no_room_is_not_stored_and_whoever_brings_it_is_told(
    disk: Disk,
) -> None:
    database = Database(open_engine(disk.url, pool_size=2, application="tests"))
    recorder = Recorder(database, Metrics())
    async with closing(database), recorder.running():
        for _ in range(60):
            await register(database)
        outcomes = [with_long_steps(target) for target in await claim(database)]

        disk.fill()
        with pytest.raises(DatabaseUnavailable):
            await record_each(recorder, outcomes)
        disk.free()
        await record_each(recorder, outcomes)

    assert rows(disk.url, "select count(*), count(distinct integration_id) from health_checks") == [
        (60, 60)
    ]
