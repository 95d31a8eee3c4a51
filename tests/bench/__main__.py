"""
`make bench`: prints every figure beside its reference, and writes .local/bench.json.

    make bench                                 all figures
    make bench ARGS="pipeline ticks"           some of them
    make bench ARGS="simulation --integrations 1000000 --minutes 30"
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

from stella_runtime.telemetry.logging import configure_logging
from tests.bench import claims, dead_hosts, latencies, pipeline, reads, simulation, ticks
from tests.bench.figures import Figure, tell
from tests.bench.stack import REPOSITORY, UNDER_TEST, Databases, servers

Part = Callable[[Databases, str], Awaitable[Sequence[Figure]]]


def _parts(asked: argparse.Namespace) -> dict[str, Part]:
    async def _pipeline(databases: Databases, amqp_url: str) -> Sequence[Figure]:
        return [await pipeline.measure(databases, amqp_url)]

    async def _dead_hosts(databases: Databases, amqp_url: str) -> Sequence[Figure]:
        return [await dead_hosts.measure(await databases.migrated("dead_hosts"), amqp_url)]

    async def _ticks(databases: Databases, amqp_url: str) -> Sequence[Figure]:
        return [await ticks.measure(databases)]

    async def _claims(databases: Databases, amqp_url: str) -> Sequence[Figure]:
        return [await claims.measure(databases)]

    async def _simulation(databases: Databases, amqp_url: str) -> Sequence[Figure]:
        await simulation.run(
            databases,
            integrations=asked.integrations,
            minutes=asked.minutes,
            interval_seconds=asked.interval,
        )
        return []

    return {
        "pipeline": _pipeline,
        "dead_hosts": _dead_hosts,
        "ticks": _ticks,
        "claims": _claims,
        "reads": reads.measure,
        "latencies": latencies.measure,
        "simulation": _simulation,
    }


async def _measure(parts: Sequence[Part], databases: Databases, amqp_url: str) -> None:
    """One after another; what was measured stays, should a later one fail."""
    for part in parts:
        tell(await part(databases, amqp_url), REPOSITORY / ".local" / "bench.json")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…")
    parser.add_argument("parts", nargs="*", help="which to measure; without one, all")
    parser.add_argument("--integrations", type=int, default=20_000, help="of the simulation")
    parser.add_argument("--minutes", type=int, default=30, help="of virtual time")
    parser.add_argument("--interval", type=int, default=300, help="seconds between two checks")
    asked = parser.parse_args()
    for name in asked.parts:
        if name not in _parts(asked):
            parser.error(f"There is no part {name!r}: {', '.join(_parts(asked))}")
    return asked


def main() -> None:
    asked = _asked()
    parts = [part for name, part in _parts(asked).items() if not asked.parts or name in asked.parts]
    configure_logging("error", service="bench")
    sys.stdout.write(
        f"Core {UNDER_TEST} for the process under test; servers, target and load beside it.\n"
    )
    with servers() as (databases, amqp_url):
        asyncio.run(_measure(parts, databases, amqp_url))


if __name__ == "__main__":
    main()
