"""The suite itself: one test for each thing that every plugin has to do."""

import asyncio
import base64
import copy
import functools
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from stella_contracts.capabilities import METHOD_OF_CAPABILITY
from stella_contracts.health import ErrorCode, HealthStatus
from stella_contracts.testing.provider import (
    BAD_ANSWERS,
    Provider,
    SilentProvider,
    echoing,
    failing_with,
    transport_failures,
    watched_connections,
)
from stella_contracts.testing.subject import (
    CANARY,
    PATIENCE_SECONDS,
    Found,
    Subject,
    a_context,
    an_integration,
    require,
)

_SILENCE_SECONDS = 0.2

_Suite = TypeVar("_Suite", bound="PluginConformance")


def _in_a_loop(test: Callable[[_Suite], Awaitable[None]]) -> Callable[[_Suite], None]:
    @functools.wraps(test)
    def run(self: _Suite) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await test(self)

        asyncio.run(bounded())

    return run


class PluginConformance:
    """
    What every plugin has to do, whatever it connects.

        class TestAcme(PluginConformance):
            folder = Path(__file__).parent / "acme"

    Runs under pytest, and needs none of its plugins. Configs are the `examples` of the
    manifest's config schema, so that what is tested is what people are shown; a check of the
    first one must end by itself. No connection is opened: the provider is a transport that
    fails, stays silent, or answers nonsense.
    """

    folder: Path
    """The folder that holds plugin.toml."""

    def subject(self) -> Subject:
        """The plugin. Override it to lend a secret of another form."""
        return Subject.load(self.folder)

    def test_provider_type_is_the_one_of_the_manifest(self) -> None:
        subject = self.subject()

        said = subject.manifest.provider_type
        given = subject.plugin.provider_type
        require(given == said, f"provides {given!r}, and its manifest says {said!r}")

    def test_capabilities_of_the_manifest_are_those_of_the_class(self) -> None:
        subject = self.subject()

        for capability, method in METHOD_OF_CAPABILITY.items():
            has = callable(getattr(subject.plugin, method, None))
            names = capability in subject.manifest.capabilities
            require(has or not names, f"names {capability} and has no {method}")
            require(names or not has, f"has {method}, and its manifest does not name it")

    def test_config_schema_is_json_schema_and_accepts_its_examples(self) -> None:
        import pytest  # here, so that this module can be imported without it

        jsonschema = pytest.importorskip("jsonschema", reason="nothing here judges a schema")
        subject = self.subject()

        jsonschema.Draft202012Validator.check_schema(subject.manifest.config_schema)
        for config in subject.examples:
            jsonschema.Draft202012Validator(subject.manifest.config_schema).validate(config)

    @_in_a_loop
    async def test_validate_config_accepts_the_examples_and_opens_no_connection(self) -> None:
        subject = self.subject()

        for config in subject.examples:
            before = copy.deepcopy(config)
            with watched_connections() as opened:
                first = await subject.plugin.validate_config(config)
                second = await subject.plugin.validate_config(config)
            require(not opened, f"connects in validate_config: {opened}")
            require(not first.problems, f"refuses its own example {config}: {first.problems}")
            require(first == second, f"answers {first}, and then {second}, to one config")
            require(config == before, "changes the config that it is given")

    @_in_a_loop
    async def test_normalised_endpoint_is_normalised_to_itself(self) -> None:
        subject = self.subject()

        for config in subject.examples:
            first = (await subject.plugin.validate_config(config)).connection
            if first is None or "endpoint" not in config:
                continue
            again = {**config, "endpoint": first.api_root}
            second = (await subject.plugin.validate_config(again)).connection
            require(first == second, f"makes {first} of an endpoint, and of that {second}")

    @_in_a_loop
    async def test_check_ends_when_it_is_cancelled(self) -> None:
        subject = self.subject()

        for config in subject.examples:
            silent = SilentProvider()
            async with httpx.AsyncClient(transport=silent) as http:
                context = a_context(http, subject.secret)
                integration = an_integration(subject.plugin, config)
                check = asyncio.ensure_future(subject.plugin.check_health(integration, context))
                await _until_under_way(check, silent)
                finished = check.done()
                check.cancel()
                await asyncio.wait({check}, timeout=PATIENCE_SECONDS)
            require(check.done(), "goes on when it is cancelled")
            require(finished or check.cancelled(), "swallows the CancelledError")

    @_in_a_loop
    async def test_failure_on_the_way_is_neither_healthy_nor_a_defect(self) -> None:
        subject = self.subject()

        for failure in transport_failures():
            provider = Provider(failing_with(failure))
            found = await subject.check(provider)
            require(
                _is_ailing(found) or not provider.requests,
                f"is healthy, and the provider raised {failure!r}",
            )

    @_in_a_loop
    async def test_nonsense_for_an_answer_is_neither_healthy_nor_a_defect(self) -> None:
        subject = self.subject()

        for answer in BAD_ANSWERS:
            provider = Provider(answer)
            found = await subject.check(provider)
            require(
                _is_ailing(found) or not provider.requests,
                f"is healthy, and the provider answered {answer.status} {answer.body[:40]!r}",
            )

    @_in_a_loop
    async def test_rejected_credential_is_called_that(self) -> None:
        subject = self.subject()
        provider = Provider(echoing(401))

        found = await subject.check(provider)

        require(
            found.result.error_code is ErrorCode.AUTH_REJECTED or not provider.requests,
            f"finds {found.result!r} when every answer is a 401",
        )

    @_in_a_loop
    async def test_secret_is_in_no_result_and_no_log(self) -> None:
        subject = self.subject()
        hidden = {form for value in subject.secret.values for form in _forms(value)}

        for status in (200, 400, 401, 403, 404, 412, 429, 500):
            found = await subject.check(Provider(echoing(status)))
            require(
                not any(form in found.told for form in hidden),
                f"lets its secret out after a {status}: {found.told}",
            )


async def _until_under_way(check: "asyncio.Future[Any]", silent: SilentProvider) -> None:
    """Until it asks, or ends. Who asks nobody, and waits all the same, gets a moment to begin."""
    asked = asyncio.ensure_future(silent.asked.wait())
    waiting: set[asyncio.Future[Any]] = {check, asked}
    await asyncio.wait(waiting, timeout=_SILENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()


def _is_ailing(found: Found) -> bool:
    return found.result.status is not HealthStatus.HEALTHY


def _forms(value: str) -> Sequence[str]:
    """A secret, and what it may be turned into on its way out."""
    encoded = base64.b64encode(value.encode()).decode().rstrip("=")
    return [value, encoded, CANARY]
