"""What a check comes to, whatever the plugin does."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import pytest
from structlog.testing import capture_logs
from tests.unit.health_worker.plugin_doubles import (
    FIRST,
    KNOWN,
    SECRET,
    TARGET,
    WITH_SECRET,
    Behaviour,
    Host,
    NoEgress,
    Vault,
    finding,
    probe,
    raising,
    returning,
    steps,
)

from stella_contracts.errors import Problem
from stella_contracts.failures import RateLimited
from stella_contracts.health import CheckTrigger, ErrorCode, HealthResult, HealthStatus
from stella_contracts.integrations import Connection
from stella_contracts.plugin import (
    CheckFailed,
    IntegrationConfig,
    PluginContext,
    ValidationResult,
)
from stella_health_worker.prober import Prober


async def test_result_of_the_plugin_is_the_outcome() -> None:
    outcome = await probe()

    assert finding(outcome) == (HealthStatus.HEALTHY, None, None)
    assert (outcome.target, outcome.worker, outcome.connection) == (TARGET, "worker-1", None)
    assert outcome.latency_ms >= 0
    assert outcome.checked_at.tzinfo is not None


async def test_credential_that_ends_soon_degrades_what_works() -> None:
    ends = datetime.now(UTC) + timedelta(days=2)

    outcome = await probe(returning(HealthResult.healthy(credential_expires_at=ends)))

    assert finding(outcome)[:2] == (HealthStatus.DEGRADED, ErrorCode.CREDENTIAL_EXPIRING)


async def test_plugin_is_told_what_it_checks() -> None:
    told: list[tuple[IntegrationConfig, PluginContext]] = []

    async def behave(integration: IntegrationConfig, context: PluginContext) -> HealthResult:
        told.append((integration, context))
        return HealthResult.healthy()

    started = asyncio.get_running_loop().time()
    await probe(behave, WITH_SECRET)

    integration, context = told[0]
    assert integration == IntegrationConfig(UUID(int=2), "harbor", TARGET.config, 7, KNOWN)
    assert context.secret is not None
    assert context.secret.value == SECRET
    assert started + 5 <= context.deadline <= started + 10


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        pytest.param(
            CheckFailed(ErrorCode.NOT_FOUND, "Not there"),
            HealthStatus.UNHEALTHY,
            ErrorCode.NOT_FOUND,
            "Not there",
            id="failed check",
        ),
        pytest.param(
            RateLimited(30),
            HealthStatus.DEGRADED,
            ErrorCode.RATE_LIMITED,
            "The provider limits our rate",
            id="rate limit",
        ),
        pytest.param(
            httpx.ReadTimeout("x"),
            HealthStatus.UNHEALTHY,
            ErrorCode.TIMEOUT,
            "No answer in time",
            id="httpx",
        ),
        pytest.param(
            httpx.InvalidURL("x"),
            HealthStatus.UNHEALTHY,
            ErrorCode.MISCONFIGURED,
            "The endpoint is not a usable URL",
            id="URL",
        ),
        pytest.param(
            ValueError("x"),
            HealthStatus.UNHEALTHY,
            ErrorCode.PLUGIN_ERROR,
            "The plugin raised ValueError",
            id="defect",
        ),
        pytest.param(
            TimeoutError("x"),
            HealthStatus.UNHEALTHY,
            ErrorCode.PLUGIN_ERROR,
            "The plugin raised TimeoutError",
            id="timeout of its own",
        ),
        pytest.param(
            SystemExit(1),
            HealthStatus.UNHEALTHY,
            ErrorCode.PLUGIN_ERROR,
            "The plugin raised SystemExit",
            id="exit",
        ),
        pytest.param(
            asyncio.CancelledError(),
            HealthStatus.UNHEALTHY,
            ErrorCode.PLUGIN_ERROR,
            "The plugin raised CancelledError",
            id="cancelled by itself",
        ),
        pytest.param(
            BaseExceptionGroup("x", [SystemExit()]),
            HealthStatus.UNHEALTHY,
            ErrorCode.PLUGIN_ERROR,
            "The plugin raised BaseExceptionGroup",
            id="group",
        ),
        pytest.param(
            CheckFailed("nonsense", "x"),  # type: ignore[arg-type]
            HealthStatus.UNHEALTHY,
            ErrorCode.PLUGIN_ERROR,
            "The plugin raised ValidationError",
            id="unknown code",
        ),
    ],
)
async def test_what_a_plugin_raises_is_named(
    error: BaseException, status: HealthStatus, code: ErrorCode, message: str
) -> None:
    outcome = await probe(raising(error))

    assert finding(outcome) == (status, code, message)
    assert steps(outcome) == [("request", "failed")]


@pytest.mark.parametrize("result", [None, "healthy", {"status": "healthy"}, HealthStatus.HEALTHY])
async def test_wrong_type_of_result_is_a_defect(result: object) -> None:
    outcome = await probe(returning(result))

    assert outcome.result.error_code is ErrorCode.PLUGIN_ERROR


def degraded(code: ErrorCode | None) -> HealthResult:
    return HealthResult(status=HealthStatus.DEGRADED, error_code=code)


def unhealthy(code: ErrorCode | None) -> HealthResult:
    return HealthResult(status=HealthStatus.UNHEALTHY, error_code=code)


@pytest.mark.parametrize(
    ("result", "status", "code"),
    [
        pytest.param(
            HealthResult(status=HealthStatus.HEALTHY, error_code=ErrorCode.TLS),
            HealthStatus.HEALTHY,
            None,
            id="healthy with a code",
        ),
        pytest.param(
            degraded(None), HealthStatus.DEGRADED, ErrorCode.REMOTE_ERROR, id="degraded without"
        ),
        pytest.param(
            unhealthy(None), HealthStatus.UNHEALTHY, ErrorCode.REMOTE_ERROR, id="unhealthy without"
        ),
        pytest.param(
            unhealthy(ErrorCode.RATE_LIMITED),
            HealthStatus.DEGRADED,
            ErrorCode.RATE_LIMITED,
            id="rate limit as an outage",
        ),
        pytest.param(
            unhealthy(ErrorCode.NOT_SUPPORTED),
            HealthStatus.UNKNOWN,
            ErrorCode.NOT_SUPPORTED,
            id="not supported as an outage",
        ),
        pytest.param(
            HealthResult(status=HealthStatus.UNKNOWN),
            HealthStatus.UNKNOWN,
            ErrorCode.NOT_SUPPORTED,
            id="unknown without",
        ),
    ],
)
async def test_code_is_made_to_fit_the_status(
    result: HealthResult, status: HealthStatus, code: ErrorCode | None
) -> None:
    outcome = await probe(returning(result))

    assert finding(outcome)[:2] == (status, code)


async def test_pause_is_passed_on_and_bounded() -> None:
    asked = degraded(ErrorCode.RATE_LIMITED).model_copy(update={"retry_after_seconds": 1e9})

    outcome = await probe(returning(asked))

    assert outcome.result.retry_after_seconds == 3600


async def test_first_check_validates_and_keeps_the_connection() -> None:
    outcome = await probe(target=FIRST, validated=ValidationResult(connection=KNOWN))

    assert outcome.connection == KNOWN


async def test_first_check_of_a_plugin_without_endpoint_is_remembered_too() -> None:
    outcome = await probe(target=FIRST)

    assert outcome.connection == Connection()


async def test_config_that_the_plugin_refuses_is_not_checked() -> None:
    refused = ValidationResult(
        problems=[Problem("/endpoint", "It is not a URL."), Problem("", "It is empty.")]
    )

    outcome = await probe(raising(AssertionError()), FIRST, validated=refused)

    assert finding(outcome) == (
        HealthStatus.UNHEALTHY,
        ErrorCode.MISCONFIGURED,
        "The plugin refuses the config. /endpoint: It is not a URL. /: It is empty.",
    )
    assert (outcome.connection, outcome.steps) == (None, [])


@pytest.mark.parametrize("validated", [True, ValueError("x")])
async def test_defect_in_validation_is_a_defect(validated: object) -> None:
    outcome = await probe(target=FIRST, validated=validated)

    assert outcome.result.error_code is ErrorCode.PLUGIN_ERROR


async def test_plugin_that_cannot_be_loaded_says_why() -> None:
    prober = Prober(plugins=Host(None), secrets=Vault(), egress=NoEgress(), worker="worker-1")

    outcome = await prober.probe(TARGET)

    assert finding(outcome)[1:] == (ErrorCode.PLUGIN_ERROR, "No plugin provides 'harbor'.")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        pytest.param("authref://vault/ci/other", "The vault has no such secret.", id="missing"),
        pytest.param("hunter2", "It must start with authref://", id="malformed"),
    ],
)
async def test_secret_that_cannot_be_resolved_is_named(reference: str, message: str) -> None:
    outcome = await probe(raising(AssertionError()), replace(TARGET, auth_ref_uri=reference))

    assert outcome.result.error_code is ErrorCode.SECRET_UNRESOLVABLE
    assert message in str(outcome.result.error_message)
    assert "hunter2" not in str(outcome.result.error_message)
    assert steps(outcome) == [("resolve_secret", "failed")]


async def test_field_that_the_manifest_asks_for_is_missed() -> None:
    outcome = await probe(target=WITH_SECRET, secret_fields=["private_key", "value"])

    assert finding(outcome)[1:] == (
        ErrorCode.SECRET_UNRESOLVABLE,
        "The secret lacks what the plugin needs: private_key",
    )


async def leak_in_the_result(_: IntegrationConfig, context: PluginContext) -> HealthResult:
    context.steps.add(f"ask {SECRET}", "passed")  # type: ignore[arg-type]  # as plugins do
    context.log.warning(f"asked_{SECRET}", headers={"Authorization": f"Bearer {SECRET}"}, tries=2)
    return HealthResult.unhealthy(ErrorCode.REMOTE_ERROR, f"Login with {SECRET} failed")


async def leak_in_a_failure(_: IntegrationConfig, __: PluginContext) -> HealthResult:
    # Cut at its limit, the message would end in half of the secret.
    raise CheckFailed(ErrorCode.REMOTE_ERROR, "x" * 490 + SECRET)


async def leak_in_an_exception(_: IntegrationConfig, __: PluginContext) -> HealthResult:
    raise ValueError(SECRET)


@pytest.mark.parametrize("behave", [leak_in_the_result, leak_in_a_failure, leak_in_an_exception])
async def test_secret_leaves_in_nothing_that_a_plugin_says(behave: Behaviour) -> None:
    with capture_logs() as logged:
        outcome = await probe(behave, WITH_SECRET)

    said = f"{outcome.result!r} {outcome.steps!r} {logged!r}"
    assert "hunter" not in said
    assert outcome.result.status is HealthStatus.UNHEALTHY


async def test_message_holds_nothing_that_a_database_refuses() -> None:
    outcome = await probe(raising(CheckFailed(ErrorCode.REMOTE_ERROR, "a\x00b\ud800c\nd")))

    assert outcome.result.error_message == "a b c d"


async def test_steps_are_bounded() -> None:
    async def behave(_: IntegrationConfig, context: PluginContext) -> HealthResult:
        for _number in range(1000):
            with context.steps.step("request"):
                pass
        return HealthResult.healthy()

    assert len((await probe(behave)).steps) == 32


async def test_check_is_logged_with_whose_it_was() -> None:
    with capture_logs() as logged:
        await probe(raising(CheckFailed(ErrorCode.TLS, "x")))

    assert logged[0].pop("latency_ms") >= 0
    assert logged == [
        {
            "event": "health_checked",
            "log_level": "info",
            "integration_id": str(UUID(int=2)),
            "tenant_id": "acme",
            "provider_type": "harbor",
            "action": "health_check",
            "check_id": str(UUID(int=1)),
            "status": "unhealthy",
            "error_code": "tls",
        }
    ]


@pytest.mark.parametrize(
    ("trigger", "written_at", "level"),
    [
        (CheckTrigger.SCHEDULE, "DEBUG", ["debug"]),
        (CheckTrigger.SCHEDULE, "INFO", []),
        (CheckTrigger.ON_DEMAND, "INFO", ["info"]),
    ],
)
async def test_what_is_well_is_logged_where_someone_asked(
    trigger: CheckTrigger, written_at: str, level: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(written_at, logger="stella")

    with capture_logs() as logged:
        await probe(target=replace(TARGET, trigger=trigger))

    assert [line["log_level"] for line in logged] == level


@pytest.mark.parametrize(
    ("behave", "crashes"),
    [
        pytest.param(raising(ZeroDivisionError()), ["harbor"], id="it raises"),
        pytest.param(raising(SystemExit(1)), ["harbor"], id="it would end the process"),
        pytest.param(raising(CheckFailed(ErrorCode.TLS, "x")), [], id="it finds a failure"),
        pytest.param(raising(httpx.ConnectError("x")), [], id="the tool does not answer"),
        pytest.param(returning(HealthResult.healthy()), [], id="all is well"),
    ],
)
async def test_a_crash_of_the_plugin_is_counted(behave: Behaviour, crashes: list[str]) -> None:
    counted: list[str] = []

    await probe(behave, crashed=counted.append)

    assert counted == crashes
