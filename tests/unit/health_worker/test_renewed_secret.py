"""What becomes of a check whose credential is refused: the secret may have been rotated."""

import pytest
from tests.unit.health_worker.plugin_doubles import (
    WITH_SECRET,
    Behaviour,
    a_prober,
    finding,
    steps,
)

from stella_contracts.errors import SecretUnavailable
from stella_contracts.health import ErrorCode, HealthResult, HealthStatus
from stella_contracts.plugin import CheckFailed, IntegrationConfig, PluginContext
from stella_health_worker.prober import Prober
from stella_runtime.secrets import SecretResolver

FORMER, ROTATED = "former-password", "rotated-password"


class Store:
    """A vault whose secret can be rotated, and which can go away."""

    def __init__(self) -> None:
        self.held: str | None = FORMER
        self.reads = 0

    async def read(self, path: str) -> str:
        self.reads += 1
        if self.held is None:
            raise SecretUnavailable("The vault is sealed.")
        return self.held


class Provider:
    """A plugin's view of a provider that takes one password."""

    def __init__(self, takes: str) -> None:
        self.takes = takes
        self.tried: list[str] = []

    async def check(self, _: IntegrationConfig, context: PluginContext) -> HealthResult:
        assert context.secret is not None
        self.tried.append(context.secret.value)
        with context.steps.step("authenticate"):
            if context.secret.value != self.takes:
                raise CheckFailed(ErrorCode.AUTH_REJECTED, f"HTTP 401 for {', '.join(self.tried)}")
        return HealthResult.healthy()


def prober_with(store: Store, behave: Behaviour) -> Prober:
    return a_prober(
        behave, secrets=SecretResolver(environment="production", stores={"vault": store})
    )


async def test_a_rotated_secret_is_read_again_within_the_check_that_met_the_rejection() -> None:
    store, provider = Store(), Provider(takes=FORMER)
    prober = prober_with(store, provider.check)
    await prober.probe(WITH_SECRET)
    store.held = provider.takes = ROTATED

    outcome = await prober.probe(WITH_SECRET)

    assert finding(outcome) == (HealthStatus.HEALTHY, None, None)
    assert provider.tried == [FORMER, FORMER, ROTATED]
    assert steps(outcome) == [("resolve_secret", "passed"), ("authenticate", "passed")]


async def test_a_secret_that_is_still_the_same_is_not_tried_again() -> None:
    store, provider = Store(), Provider(takes=ROTATED)

    outcome = await prober_with(store, provider.check).probe(WITH_SECRET)

    assert outcome.result.error_code is ErrorCode.AUTH_REJECTED
    assert store.reads == 2
    assert provider.tried == [FORMER]
    assert steps(outcome) == [("resolve_secret", "passed"), ("authenticate", "failed")]


async def test_a_fresh_secret_is_tried_once_and_then_called_rejected() -> None:
    store, provider = Store(), Provider(takes="another")
    prober = prober_with(store, provider.check)
    await prober.probe(WITH_SECRET)
    provider.tried.clear()
    store.held = ROTATED

    outcome = await prober.probe(WITH_SECRET)

    assert provider.tried == [FORMER, ROTATED]
    # Neither the former nor the new one is told.
    assert finding(outcome) == (
        HealthStatus.UNHEALTHY,
        ErrorCode.AUTH_REJECTED,
        "HTTP 401 for ***, ***",
    )


async def test_a_rejection_that_no_fresh_secret_confirms_is_the_vaults_failure() -> None:
    store, provider = Store(), Provider(takes=FORMER)
    prober = prober_with(store, provider.check)
    await prober.probe(WITH_SECRET)
    store.held, provider.takes = None, ROTATED

    outcome = await prober.probe(WITH_SECRET)

    assert finding(outcome) == (
        HealthStatus.UNHEALTHY,
        ErrorCode.SECRET_UNRESOLVABLE,
        "The vault is sealed.",
    )


@pytest.mark.parametrize("code", [ErrorCode.PERMISSION_MISSING, ErrorCode.CONNECT])
async def test_another_failure_asks_for_no_fresh_secret(code: ErrorCode) -> None:
    store = Store()

    async def behave(_: IntegrationConfig, __: PluginContext) -> HealthResult:
        raise CheckFailed(code, "No")

    await prober_with(store, behave).probe(WITH_SECRET)

    assert store.reads == 1
