"""The life of a process: settings, start, serve until a signal, drain, stop."""

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import structlog
import uvloop
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from stella_runtime.settings import ProcessSettings
from stella_runtime.telemetry.logging import configure_logging
from stella_runtime.telemetry.trace_export import TracingMisconfigured
from stella_runtime.telemetry.tracing import configure_tracing, stop_tracing

log = structlog.get_logger()

AnySettingsT = TypeVar("AnySettingsT", bound=BaseSettings)
SettingsT = TypeVar("SettingsT", bound=ProcessSettings)

BAD_SETTINGS = 78
"""Exit code EX_CONFIG of sysexits.h."""


def read_settings(kind: type[AnySettingsT], **given: Any) -> AnySettingsT:
    """Read the settings of a process, or end it with a line for each that is missing or wrong."""
    try:
        return kind(**given)
    except ValidationError as error:
        for problem in error.errors():
            name = "STELLA_" + "_".join(str(part) for part in problem["loc"]).upper()
            sys.stderr.write(f"{name}: {problem['msg']}\n")
        sys.exit(BAD_SETTINGS)


async def until_stopped() -> None:
    """Return at SIGTERM or SIGINT. A second signal ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask_to_stop() -> None:
        if stop.is_set():
            sys.exit(130)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop)
    await stop.wait()
    log.info("stopping")


async def supervise(*parts: Coroutine[Any, Any, None]) -> None:
    """
    Run parts that never end, until a signal or until one of them fails.

    They are ended one after another, in the order given, so that a part which others rely on
    comes last. Raises what a failed part raised: a process that has lost a part of itself must
    not go on as if it had not.
    """
    running = [
        asyncio.create_task(part, name=getattr(part, "__qualname__", "part")) for part in parts
    ]
    stopped = asyncio.create_task(until_stopped())
    try:
        done, _ = await asyncio.wait([*running, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopped}:
            task.result()
            raise RuntimeError(f"{task.get_name()} ended by itself.")
    finally:
        for task in [*running, stopped]:
            task.cancel()
            await asyncio.wait([task])


def run_process(
    service: str,
    kind: type[SettingsT],
    serve: Callable[[SettingsT], Coroutine[Any, Any, None]],
    *,
    parser: argparse.ArgumentParser | None = None,
) -> NoReturn:
    """Read arguments and settings, then run `serve` until it returns."""
    parser = parser or argparse.ArgumentParser(prog=f"python -m stella_{service.replace('-', '_')}")
    parser.add_argument("--check-settings", action="store_true", help="check the settings and exit")
    arguments = vars(parser.parse_args())
    only_check = arguments.pop("check_settings")
    settings = read_settings(kind, **{k: v for k, v in arguments.items() if v is not None})
    try:
        configure_tracing(service)
    except TracingMisconfigured as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(BAD_SETTINGS)
    if only_check:
        sys.stdout.write("The settings are complete.\n")
        sys.exit(0)
    configure_logging(settings.log_level, service=service)
    # What the imports made stays to the end: the collector need not walk it again and again.
    gc.freeze()
    try:
        uvloop.run(serve(settings))
    finally:
        stop_tracing()
    sys.exit(0)
