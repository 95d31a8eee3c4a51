"""
`GET /integrations/{id}` and `GET /integrations?limit=50`, on one core.

And the 1,000th page of a listing, which is to cost what the first one does.

The reference is the floor: an ASGI application of a few lines that runs the same select with
asyncpg and writes it with orjson, without a token, a tenant or an object of ours.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import psycopg

from stella_embedded import issuer
from tests.bench.figures import Figure
from tests.bench.stack import Databases, answers, cpu_seconds, process, settings
from tests.support.ports import free_port
from tests.support.processes import authority

CONNECTIONS = 16
SECONDS = 5.0
ROWS = 60_000
FAR_PAGE = 1000


@dataclass(frozen=True)
class Rate:
    """How many a second, and how much of its core each took."""

    per_second: float
    cpu_us: float


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
        connection.execute(
            "insert into schedule_state (integration_id, tenant_id)"
            " select id, tenant_id from integrations"
        )
        connection.execute("analyze")
        row = connection.execute("select id from integrations where tenant_id = 'reads'").fetchone()
    assert row is not None
    async with authority() as (signer, keys_url):
        ours = await _ours(postgres_url, amqp_url, signer, keys_url, str(row[0]))
    floor = await _floor(postgres_url, str(row[0]))
    return [
        Figure(
            name,
            ours[name].per_second,
            "requests/s",
            {"asyncpg_orjson_asgi": floor[name].per_second},
            {
                "cpu_us_per_request": ours[name].cpu_us,
                "cpu_us_per_request_of_the_floor": floor[name].cpu_us,
            }
            | (
                {
                    f"page_{FAR_PAGE}_per_second": ours["far_page"].per_second,
                    f"page_{FAR_PAGE}_cpu_us": ours["far_page"].cpu_us,
                }
                if name == "list_integrations"
                else {}
            ),
        )
        for name in ("get_integration", "list_integrations")
    ]


async def _ours(
    postgres_url: str, amqp_url: str, signer: issuer.Issuer, keys_url: str, identifier: str
) -> dict[str, Rate]:
    port = free_port()
    environment = settings(
        postgres_url,
        amqp_url,
        STELLA_PORT=str(port),
        STELLA_JWKS_URL=keys_url,
        STELLA_ISSUER=issuer.ISSUER,
        STELLA_AUDIENCE=issuer.AUDIENCE,
        STELLA_CURSOR_KEY="a key for benchmarks, long enough for one",
        STELLA_TENANT_REQUESTS_PER_MINUTE="100000000",
    )
    token = signer.token(tenant="reads", subject="bench")
    async with process("-m", "stella_api", environment=environment, is_under_test=True) as api:
        base = f"http://127.0.0.1:{port}"
        await answers(f"{base}/readyz")
        return await _all(f"{base}/api/v1/integrations", identifier, token, api.pid)


async def _floor(postgres_url: str, identifier: str) -> dict[str, Rate]:
    port = free_port()
    async with process(
        "-m", "uvicorn", "tests.bench.floor:application", "--port", str(port),
        "--log-level", "error", is_under_test=True,
        environment={"FLOOR_DATABASE_URL": postgres_url},
    ) as floor:  # fmt: skip
        base = f"http://127.0.0.1:{port}"
        await answers(base)
        return await _all(base, identifier, "none", floor.pid)


async def _all(base: str, identifier: str, token: str, pid: int) -> dict[str, Rate]:
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

        async def far() -> str:
            url = f"{base}?limit=50"
            for _ in range(FAR_PAGE - 1):
                async with session.get(url) as answer:
                    cursor = (await answer.json())["nextCursor"]
                url = f"{base}?limit=50&cursor={cursor}"
            return url

        found = {
            "get_integration": await _rate(getting(f"{base}/{identifier}"), pid),
            "list_integrations": await _rate(getting(f"{base}?limit=50"), pid),
        }
        if token != "none":
            found["far_page"] = await _rate(getting(await far()), pid)
        return found


async def _rate(get: Callable[[], Awaitable[None]], pid: int) -> Rate:
    """Requests per second, after a second of warming up."""
    done = 0
    loop = asyncio.get_running_loop()

    async def until(deadline: float) -> None:
        nonlocal done
        while loop.time() < deadline:
            await get()
            done += 1

    await asyncio.gather(*(until(loop.time() + 1) for _ in range(CONNECTIONS)))
    done, started, used = 0, time.perf_counter(), cpu_seconds(pid)
    await asyncio.gather(*(until(loop.time() + SECONDS) for _ in range(CONNECTIONS)))
    seconds, used = time.perf_counter() - started, cpu_seconds(pid) - used
    return Rate(done / seconds, used / done * 1_000_000)
