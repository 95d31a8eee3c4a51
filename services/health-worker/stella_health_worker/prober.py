"""Reads the secret, calls the plugin under one deadline, times it, and says what was found."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import httpx
import structlog

from stella_contracts.errors import PluginUnavailable
from stella_contracts.failures import failure_of, result_of
from stella_contracts.health import ErrorCode, HealthResult
from stella_contracts.integrations import Connection
from stella_contracts.manifest import CA_BUNDLE, Manifest
from stella_contracts.plugin import (
    CheckFailed,
    IntegrationConfig,
    IntegrationPlugin,
    PluginContext,
    Secret,
    Steps,
    ValidationResult,
)
from stella_health_worker.check_span import about, check_span, tell
from stella_health_worker.credentials import Secrets, read_secret
from stella_health_worker.findings import normalised, raised, scrubbed, timed_out
from stella_health_worker.scrubbing import PluginLog, Scrubber
from stella_health_worker.tasks import ends_within
from stella_runtime.persistence.scheduling import Outcome, Target
from stella_runtime.telemetry.logging import also_say

log = structlog.get_logger()

GRACE_SECONDS = 1.0
"""How long a plugin that was cancelled may take to end."""

ABANDONED_LIMIT = 20
"""With so many checks that ignore being cancelled, a plugin is called no more until some end."""

STEPS_LIMIT = 32


class LoadedPlugin(Protocol):
    @property
    def plugin(self) -> IntegrationPlugin: ...
    @property
    def manifest(self) -> Manifest: ...


class Plugins(Protocol):
    async def get(self, provider_type: str) -> LoadedPlugin:
        """Raises PluginUnavailable, with a sentence that may be shown."""
        ...


class Egress(Protocol):
    def client(
        self, manifest: Manifest, settings: Mapping[str, Any], steps: Steps, *, tenant_id: str
    ) -> httpx.AsyncClient: ...


@dataclass(slots=True)
class _Check:
    """One check while it runs: what is known of it even if it never ends."""

    target: Target
    deadline: float
    steps: Steps = field(default_factory=Steps)
    scrubber: Scrubber = field(default_factory=Scrubber)
    secret_values: list[str] = field(default_factory=list)
    connection: Connection | None = None
    started: float = field(default_factory=time.perf_counter)
    crashed: bool = False


class Prober:
    """Runs checks. Whatever a plugin does, each ends shortly after its deadline at the latest."""

    def __init__(
        self,
        *,
        plugins: Plugins,
        secrets: Secrets,
        egress: Egress,
        worker: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        grace_seconds: float = GRACE_SECONDS,
        crashed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._plugins = plugins
        self._crashed = crashed
        self._secrets = secrets
        self._egress = egress
        self._worker = worker
        self._now = now
        self._grace_seconds = grace_seconds
        self._tasks: set[asyncio.Task[HealthResult]] = set()
        self._abandoned: Counter[str] = Counter()

    @property
    def abandoned(self) -> Mapping[str, int]:
        """Checks that ignored being cancelled and still run, by provider type."""
        return +self._abandoned

    async def probe(self, target: Target) -> Outcome:
        """Check an integration. Raises nothing but CancelledError."""
        with check_span(target) as span:
            outcome = await self._probe(target)
            span.set(status=outcome.result.status.value, error_code=outcome.result.error_code)
            tell(outcome)
        return outcome

    async def _probe(self, target: Target) -> Outcome:
        loop = asyncio.get_running_loop()
        check = _Check(target, deadline=loop.time() + target.timeout_seconds)
        # A task of its own: one that ignores being cancelled must not keep its caller.
        task = loop.create_task(self._find(check))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        try:
            in_time = await ends_within(task, target.timeout_seconds)
            ended = time.perf_counter()
        finally:
            await self._end(task, target)
        result = _found(task, check) if in_time else timed_out(target.timeout_seconds)
        if check.crashed or not task.done():
            self._crashed(target.provider_type)
        return Outcome(
            target=target,
            result=normalised(result, check.scrubber, self._now()),
            connection=check.connection,
            latency_ms=round((ended - check.started) * 1000),
            steps=[scrubbed(step, check.scrubber) for step in check.steps.taken[:STEPS_LIMIT]],
            checked_at=self._now(),
            worker=self._worker,
        )

    async def _end(self, task: asyncio.Task[HealthResult], target: Target) -> None:
        if task.done():
            return
        task.cancel()
        await asyncio.wait([task], timeout=self._grace_seconds)
        if not task.done():
            self._abandon(task, target)

    def _abandon(self, task: asyncio.Task[HealthResult], target: Target) -> None:
        provider_type = target.provider_type
        self._abandoned[provider_type] += 1
        log.warning("check_abandoned", **about(target), abandoned=self._abandoned[provider_type])

        def ended(_: asyncio.Task[HealthResult]) -> None:
            self._abandoned[provider_type] -= 1

        task.add_done_callback(ended)

    def _forget(self, task: asyncio.Task[HealthResult]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Looked at, or asyncio would log its text, which may hold a secret.
            task.exception()

    async def _find(self, check: _Check) -> HealthResult:
        also_say(partial(about, check.target))
        try:
            return await self._ask(check)
        except (CheckFailed, httpx.HTTPError, httpx.InvalidURL) as failure:
            return _failed(failure, check)
        except SystemExit as error:
            # In a task it would end the worker.
            return _broken(check, error)

    async def _ask(self, check: _Check) -> HealthResult:
        target = check.target
        loaded = await self._loaded(target.provider_type)
        if target.connection is None:
            check.connection = await _validated(loaded.plugin, target)
        # What came before is our own: the latency is the provider's and the vault's.
        check.started = time.perf_counter()
        if target.auth_ref_uri is None:
            return await self._call(check, loaded, None)
        secret = await self._secret(check, loaded.manifest)
        result = await self._call(check, loaded, secret)
        if result.error_code is not ErrorCode.AUTH_REJECTED:
            return result
        # It may have been rotated since it was read. Only a fresh one is called rejected.
        taken = len(check.steps.taken)
        renewed = await self._secret(check, loaded.manifest, fresh=True)
        if renewed.values == secret.values:
            del check.steps.taken[taken:]
            return result
        del check.steps.taken[:taken]
        return await self._call(check, loaded, renewed)

    async def _call(
        self, check: _Check, loaded: LoadedPlugin, secret: Secret | None
    ) -> HealthResult:
        target = check.target
        context = PluginContext(
            http=self._egress.client(
                loaded.manifest, target.config, check.steps, tenant_id=target.tenant_id
            ),
            log=PluginLog(partial(about, target), check.scrubber),
            deadline=check.deadline,
            secret=secret,
            steps=check.steps,
        )
        integration = IntegrationConfig(
            integration_id=target.integration_id,
            provider_type=target.provider_type,
            settings=_of_the_plugin(target.config),
            checks_before=target.checks_before,
            connection=check.connection or target.connection,
        )
        try:
            result = await loaded.plugin.check_health(integration, context)
        except (CheckFailed, httpx.HTTPError, httpx.InvalidURL) as failure:
            return _failed(failure, check)
        if not isinstance(result, HealthResult):
            raise CheckFailed(
                ErrorCode.PLUGIN_ERROR,
                f"The plugin returned {type(result).__name__} and not a HealthResult",
            )
        return result

    async def _secret(self, check: _Check, manifest: Manifest, *, fresh: bool = False) -> Secret:
        secret = await read_secret(self._secrets, check.target, manifest, check.steps, fresh=fresh)
        # The former one as well: the provider may say it back.
        check.secret_values += secret.values
        check.scrubber = Scrubber(check.secret_values)
        return secret

    async def _loaded(self, provider_type: str) -> LoadedPlugin:
        if self._abandoned[provider_type] >= ABANDONED_LIMIT:
            raise CheckFailed(
                ErrorCode.PLUGIN_ERROR, "The plugin has too many checks that cannot be cancelled"
            )
        try:
            return await self._plugins.get(provider_type)
        except PluginUnavailable as error:
            raise CheckFailed(ErrorCode.PLUGIN_ERROR, str(error)) from error


def _of_the_plugin(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without what is the hub's."""
    if CA_BUNDLE not in config:
        return config
    return {name: value for name, value in config.items() if name != CA_BUNDLE}


async def _validated(plugin: IntegrationPlugin, target: Target) -> Connection:
    """What the plugin makes of the config. Raises CheckFailed for one that it refuses."""
    validated = await plugin.validate_config(_of_the_plugin(target.config))
    if not isinstance(validated, ValidationResult):
        raise CheckFailed(
            ErrorCode.PLUGIN_ERROR,
            f"The plugin returned {type(validated).__name__} and not a ValidationResult",
        )
    if validated.problems:
        listed = " ".join(f"{each.pointer or '/'}: {each.detail}" for each in validated.problems)
        raise CheckFailed(ErrorCode.MISCONFIGURED, f"The plugin refuses the config. {listed}")
    # Never None from here on, which means that the first check is still to come.
    return validated.connection or Connection()


def _failed(error: CheckFailed | httpx.HTTPError | httpx.InvalidURL, check: _Check) -> HealthResult:
    failure = error if isinstance(error, CheckFailed) else failure_of(error)
    # Before the message is cut: half a secret would not be found.
    failure.message = check.scrubber.scrub(str(failure.message))
    return result_of(failure)


def _found(task: asyncio.Task[HealthResult], check: _Check) -> HealthResult:
    if task.cancelled():
        return _broken(check, asyncio.CancelledError())
    error = task.exception()
    return task.result() if error is None else _broken(check, error)


def _broken(check: _Check, error: BaseException) -> HealthResult:
    """The name of the exception and not its text, which may hold the secret."""
    check.crashed = True
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    log.warning(
        "plugin_raised",
        **about(check.target),
        exception=type(error).__name__,
        module=place and place.tb_frame.f_globals.get("__name__"),
        line=place and place.tb_lineno,
    )
    return raised(error)
