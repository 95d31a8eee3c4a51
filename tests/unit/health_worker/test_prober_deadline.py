"""That a check ends, whatever the plugin does."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from tests.unit.health_worker.plugin_doubles import (
    SECRET,
    SHORT,
    TARGET,
    a_prober,
    finding,
    hanging,
    probe,
    steps,
)

from stella_contracts.health import ErrorCode, HealthResult, HealthStatus
from stella_contracts.plugin import (
    IntegrationConfig,
    PluginContext,
)
from stella_health_worker.prober import ABANDONED_LIMIT


async def test_plugin_that_hangs_is_ended_at_the_deadline() -> None:
    outcome = await probe(hanging, SHORT)

    assert finding(outcome) == (
        HealthStatus.UNHEALTHY,
        ErrorCode.TIMEOUT,
        "No result within 0 s",
    )


async def test_step_that_hung_is_the_one_that_failed() -> None:
    outcome = await probe(hanging, replace(TARGET, timeout_seconds=1))

    assert steps(outcome) == [("request", "failed")]


async def test_result_after_the_deadline_does_not_count() -> None:
    async def behave(_: IntegrationConfig, __: PluginContext) -> HealthResult:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return HealthResult.healthy()

    outcome = await probe(behave, replace(TARGET, timeout_seconds=1))

    assert outcome.result.error_code is ErrorCode.TIMEOUT


class Stubborn:
    """A plugin that ignores being cancelled until it is released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.entered = asyncio.Event()

    async def __call__(self, _: IntegrationConfig, __: PluginContext) -> HealthResult:
        self.entered.set()
        while not self.released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.released.wait()
        raise ValueError(SECRET)


async def test_plugin_that_ignores_the_end_is_abandoned_and_counted() -> None:
    stubborn = Stubborn()
    prober = a_prober(stubborn)

    with capture_logs() as logged:
        outcome = await prober.probe(replace(TARGET, timeout_seconds=1))

    assert outcome.result.error_code is ErrorCode.TIMEOUT
    assert prober.abandoned == {"harbor": 1}
    assert [line["event"] for line in logged] == ["check_abandoned", "health_checked"]
    stubborn.released.set()
    async with asyncio.timeout(5):
        while prober.abandoned:  # noqa: ASYNC110 - nothing tells of the end of a task
            await asyncio.sleep(0)


async def test_plugin_with_too_many_abandoned_checks_is_called_no_more() -> None:
    stubborn = Stubborn()
    prober = a_prober(stubborn)
    target = replace(TARGET, timeout_seconds=1)
    await asyncio.gather(*(prober.probe(target) for _ in range(ABANDONED_LIMIT)))

    outcome = await prober.probe(target)

    stubborn.released.set()
    assert outcome.result.error_code is ErrorCode.PLUGIN_ERROR
    assert prober.abandoned == {"harbor": ABANDONED_LIMIT}


async def test_stopping_the_worker_ends_the_plugin_too() -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def behave(_: IntegrationConfig, __: PluginContext) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    probing = asyncio.create_task(probe(behave))
    await entered.wait()
    probing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await probing
    assert ended.is_set()


async def test_stopping_the_worker_does_not_wait_for_a_stubborn_plugin() -> None:
    stubborn = Stubborn()
    prober = a_prober(stubborn)
    probing = asyncio.create_task(prober.probe(TARGET))
    await stubborn.entered.wait()
    probing.cancel()

    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await probing

    assert prober.abandoned == {"harbor": 1}
    stubborn.released.set()
