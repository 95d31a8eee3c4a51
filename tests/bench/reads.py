"""
`GET /integrations/{id}` and `GET /integrations?limit=50`, on one core.

The reference is the floor: an ASGI application of a few lines that runs the same select with
asyncpg and writes it with orjson, without a token, a tenant or an object of ours.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp
import psycopg

from stella_embedded import issuer
from tests.bench.figures import Figure
from tests.bench.stack import Databases, answers, free_port, process, settings
from tests.support.processes import authority

CONNECTIONS = 16
SECONDS = 5.0
ROWS = 1000


async def measure(databases: Databases, amqp_url: str) -> list[Figure]:
    """Requests per second of both reads, of ours and of the floor."""
    postgres_url = await databases.migrated("reads")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            """
            insert into integrations (id, tenant_id, type, name, config_json,
                check_interval_seconds, check_timeout_seconds)
            select gen_random_uuid(), 'reads', 'harbor', 'registry-' || n,
                '{"endpoint": "https://harbor.test"}', 300, 10 from generate_series(1, %s) n
            """,
            [ROWS],
        )
        connection.execute("analyze")
        row = connection.execute("select id from integrations where tenant_id = 'reads'").fetchone()
    assert row is not None
    async with authority() as (signer, keys_url):
        ours = await _ours(postgres_url, amqp_url, signer, keys_url, str(row[0]))
    floor = await _floor(postgres_url, str(row[0]))
    return [
        Figure(name, ours[name], "requests/s", {"asyncpg_orjson_asgi": floor[name]})
        for name in ("get_integration", "list_integrations")
    ]


async def _ours(
    postgres_url: str, amqp_url: str, signer: issuer.Issuer, keys_url: str, identifier: str
) -> dict[str, float]:
    port = free_port()
    environment = settings(
        postgres_url,
        amqp_url,
        STELLA_PORT=str(port),
        STELLA_JWKS_URL=keys_url,
        STELLA_ISSUER=issuer.ISSUER,
        STELLA_AUDIENCE=issuer.AUDIENCE,
        STELLA_CURSOR_KEY="a key for benchmarks, long enough for one",
    )
    token = signer.token(tenant="reads", subject="bench")
    async with process("-m", "stella_api", environment=environment, is_under_test=True):
        base = f"http://127.0.0.1:{port}"
        await answers(f"{base}/readyz")
        return await _both(f"{base}/api/v1/integrations", identifier, token)


async def _floor(postgres_url: str, identifier: str) -> dict[str, float]:
    port = free_port()
    async with process(
        "-m", "uvicorn", "tests.bench.floor:application", "--port", str(port),
        "--log-level", "error", is_under_test=True,
        environment={"FLOOR_DATABASE_URL": postgres_url},
    ):  # fmt: skip
        base = f"http://127.0.0.1:{port}"
        await answers(base)
        return await _both(base, identifier, "none")


async def _both(base: str, identifier: str, token: str) -> dict[str, float]:
    headers = {"Authorization": f"Bearer {token}"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:

        def getting(url: str) -> Callable[[], Awaitable[None]]:
            async def get() -> None:
                async with session.get(url) as answer:
                    body = await answer.read()
                    if answer.status != 200 or len(body) < 100:
                        raise RuntimeError(f"{url}: {answer.status} {body[:200]!r}")

            return get

        return {
            "get_integration": await _rate(getting(f"{base}/{identifier}")),
            "list_integrations": await _rate(getting(f"{base}?limit=50")),
        }


async def _rate(get: Callable[[], Awaitable[None]]) -> float:
    """Requests per second, after a second of warming up."""
    done = 0
    loop = asyncio.get_running_loop()

    async def until(deadline: float) -> None:
        nonlocal done
        while loop.time() < deadline:
            await get()
            done += 1

    await asyncio.gather(*(until(loop.time() + 1) for _ in range(CONNECTIONS)))
    done, started = 0, time.perf_counter()
    await asyncio.gather(*(until(loop.time() + SECONDS) for _ in range(CONNECTIONS)))
    return done / (time.perf_counter() - started)
