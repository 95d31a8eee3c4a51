"""`make bench`: prints every figure beside its reference, and writes .local/bench.json."""

import asyncio
import sys

from tests.bench import dead_hosts, pipeline, reads
from tests.bench.figures import Figure, tell
from tests.bench.stack import REPOSITORY, UNDER_TEST, servers


async def _figures(postgres_url: str, amqp_url: str) -> list[Figure]:
    return [
        await pipeline.measure(postgres_url, amqp_url),
        await dead_hosts.measure(postgres_url, amqp_url),
        *await reads.measure(postgres_url, amqp_url),
    ]


def main() -> None:
    sys.stdout.write(
        f"Core {UNDER_TEST} for the process under test; servers, target and load beside it.\n"
    )
    with servers() as (postgres_url, amqp_url):
        figures = asyncio.run(_figures(postgres_url, amqp_url))
    tell(figures, REPOSITORY / ".local" / "bench.json")


if __name__ == "__main__":
    main()
