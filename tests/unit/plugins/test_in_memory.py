"""The in-memory connector finds what its script says, wherever and whenever it is asked."""

import asyncio
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_contracts.failures import result_of
from stella_contracts.health import ErrorCode, HealthResult, HealthStatus, StepResult
from stella_contracts.plugin import CheckFailed
from stella_contracts.testing import Provider, a_context, an_integration
from stella_plugin_in_memory.plugin import InMemoryPlugin
from stella_plugin_in_memory.script import Script

OF_THEIR_OWN = (
    ErrorCode.RATE_LIMITED,
    ErrorCode.NOT_SUPPORTED,
    ErrorCode.CREDENTIAL_EXPIRING,
)
"""Codes that are no outage."""


async def check(config: dict[str, Any], number: int = 0) -> HealthResult:
    """The result as a host records it."""
    plugin = InMemoryPlugin()
    async with httpx.AsyncClient(transport=Provider(lambda _: httpx.Response(500))) as http:
        try:
            return await plugin.check_health(
                an_integration(plugin, config, checks_before=number), a_context(http)
            )
        except CheckFailed as failure:
            return result_of(failure)


async def statuses(config: dict[str, Any], count: int) -> list[str]:
    return [(await check(config, number)).status.value for number in range(count)]


async def problems(config: dict[str, Any]) -> list[tuple[str, str]]:
    result = await InMemoryPlugin().validate_config(config)
    return [(problem.pointer, problem.detail) for problem in result.problems]


@pytest.mark.parametrize(
    ("entry", "status", "code"),
    [
        *[
            pytest.param(code.value, "unhealthy", code.value, id=code.value)
            for code in ErrorCode
            if code not in OF_THEIR_OWN
        ],
        pytest.param("credential_expiring", "degraded", "credential_expiring", id="expiring"),
        pytest.param("rate_limited", "degraded", "rate_limited", id="rate_limited"),
        pytest.param("not_supported", "unknown", "not_supported", id="not_supported"),
        pytest.param("healthy", "healthy", None, id="healthy"),
        pytest.param("degraded", "degraded", "remote_error", id="degraded"),
        pytest.param("unhealthy", "unhealthy", "remote_error", id="unhealthy"),
        pytest.param("unknown", "unknown", None, id="unknown"),
        pytest.param({}, "healthy", None, id="nothing said"),
        pytest.param({"errorCode": "tls"}, "unhealthy", "tls", id="code in an entry"),
        pytest.param(
            {"status": "degraded", "errorCode": "tls"}, "degraded", "tls", id="status and code"
        ),
    ],
)
async def test_entry_is_what_is_found(entry: Any, status: str, code: str | None) -> None:
    result = await check({"script": [entry]})

    assert (result.status, result.error_code) == (status, code)
    assert result.error_message == (f"Scripted: {code}" if code else None)


async def test_last_entry_is_repeated() -> None:
    config = {"script": ["healthy", "timeout", "degraded"]}

    assert await statuses(config, 5) == ["healthy", "unhealthy", *["degraded"] * 3]


async def test_repeated_script_begins_again() -> None:
    config = {"script": ["healthy", "timeout"], "repeat": True}

    assert await statuses(config, 5) == ["healthy", "unhealthy", "healthy", "unhealthy", "healthy"]


async def test_without_a_script_it_is_healthy_for_ever() -> None:
    assert await statuses({}, 3) == ["healthy"] * 3


async def test_random_checks_are_the_same_in_every_process() -> None:
    config = {"failureRate": 0.4, "seed": 7}

    found = await statuses(config, 12)

    # Written down once: a change would make yesterday's demonstrations differ.
    drawn = "".join("x" if status == "unhealthy" else "." for status in found)
    assert drawn == "x.xxxx.x...."


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_failure_rate_is_about_kept(seed: int, rate: float) -> None:
    script = Script.model_validate({"seed": seed, "failureRate": rate})

    failed = sum(script.entry_of(n).status is HealthStatus.UNHEALTHY for n in range(400))

    assert abs(failed / 400 - rate) < 0.2


@given(st.integers(min_value=0))
def test_every_number_of_a_check_has_an_entry(number: int) -> None:
    for repeat in (True, False):
        script = Script.model_validate(
            {"script": ["healthy", "random"], "repeat": repeat, "failureRate": 0.5}
        )

        assert not script.entry_of(number).random


async def test_random_entries_fail_among_scripted_ones() -> None:
    config = {"script": ["tls", "random"], "failureRate": 1}

    assert [(await check(config, n)).error_code for n in range(2)] == ["tls", "remote_error"]


@pytest.mark.parametrize(
    ("entry", "latency"),
    [
        pytest.param("healthy", 30, id="of the config"),
        pytest.param({"latencyMs": 5}, 5, id="of the entry"),
        pytest.param({"latencyMs": 0}, 0, id="none for this entry"),
    ],
)
def test_latency_is_the_entry_s_or_the_config_s(entry: Any, latency: int) -> None:
    script = Script.model_validate({"script": [entry], "latencyMs": 30})

    assert script.entry_of(0).latency_ms == latency


async def test_hang_lasts_until_it_is_cancelled() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await check({"script": [{"hang": True}]})


@pytest.mark.parametrize(
    ("entry", "step"),
    [("healthy", StepResult.PASSED), ("tls", StepResult.FAILED)],
    ids=["healthy", "tls"],
)
async def test_step_tells_how_it_went(entry: str, step: StepResult) -> None:
    plugin = InMemoryPlugin()
    async with httpx.AsyncClient() as http:
        context = a_context(http)
        integration = an_integration(plugin, {"script": [entry]})

        await asyncio.gather(plugin.check_health(integration, context), return_exceptions=True)

    assert [(each.name, each.result) for each in context.steps.taken] == [("request", step)]


@pytest.mark.parametrize(
    ("config", "pointer", "detail"),
    [
        pytest.param({"scirpt": []}, "/scirpt", "Extra inputs", id="misspelt"),
        pytest.param({"script": "healthy"}, "/script", "valid list", id="no list"),
        pytest.param({"script": ["bogus"]}, "/script/0/errorCode", "Input should", id="no code"),
        pytest.param({"script": [3]}, "/script/0", "valid dictionary", id="a number"),
        pytest.param({"script": [{"latencyMs": -1}]}, "/script/0/latencyMs", "greater", id="early"),
        pytest.param({"script": ["healthy"] * 1001}, "/script", "at most 1000", id="too long"),
        pytest.param({"failureRate": 1.1}, "/failureRate", "less than", id="rate above one"),
        pytest.param({"script": ["random"]}, "", "needs failureRate", id="random without a rate"),
        pytest.param(
            {"script": [{"status": "healthy", "errorCode": "tls"}]},
            "/script/0",
            "A healthy entry has no errorCode",
            id="healthy with a code",
        ),
        pytest.param(
            {"script": [{"status": "unhealthy", "errorCode": "rate_limited"}]},
            "/script/0",
            "rate_limited is always degraded",
            id="an outage of a rate limit",
        ),
        pytest.param(
            {"script": [{"random": True, "status": "healthy"}], "failureRate": 1},
            "/script/0",
            "Leave out status",
            id="random and not",
        ),
    ],
)
async def test_config_that_makes_no_sense_is_refused_in_its_place(
    config: dict[str, Any], pointer: str, detail: str
) -> None:
    [(found, said)] = await problems(config)

    assert found == pointer
    assert detail in said
