"""A worker that has no way out: nobody's outage, and one alert about us."""

import asyncio
from collections.abc import Callable

import psycopg
from tests.support.catalog import Announced, announced, claim, make_due, outcome, register
from tests.support.checking import REFUSED, SEALED, WELL

from stella_health_worker.canary import FRESH_SECONDS, Canary
from stella_health_worker.hub_conditions import forget_the_gone
from stella_health_worker.own_health import OwnHealth
from stella_health_worker.recording import record_outcomes
from stella_runtime.persistence import Database
from stella_runtime.persistence.scheduling import Outcome, Target
from stella_runtime.telemetry.metrics import Metrics

HOSTS = 12


class Network:
    """What every check finds."""

    def __init__(self) -> None:
        self.finds = WELL

    async def probe(self, target: Target) -> Outcome:
        return outcome(target, self.finds)


class Bird:
    """A canary."""

    def __init__(self, *, sings: bool) -> None:
        self.is_well = sings

    async def sings(self) -> bool:
        return self.is_well


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class DirectRecorder:
    """Records at once, without waiting for others."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    async def record(self, found: Outcome) -> None:
        async with self._database.system_transaction() as transaction:
            await record_outcomes(transaction, [found], self._metrics)


def a_worker(
    database: Database,
    network: Network,
    *,
    name: str = "worker-1",
    canary: Canary | Bird | None = None,
    now: Callable[[], float] | None = None,
    metrics: Metrics | None = None,
) -> OwnHealth:
    gauges = metrics or Metrics()
    recorder = DirectRecorder(database, gauges)
    return OwnHealth(
        network, recorder, canary=canary, gauges=gauges, worker=name, now=now or Clock()
    )


async def check_all(database: Database, worker: OwnHealth) -> list[Outcome]:
    """All at once, as it is when a network fails: each is asked, then each is recorded."""
    targets = await claim(database, 100)
    found = [await worker.probe(target) for target in targets]
    for each in found:
        await worker.record(each)
        await make_due(database, each.target.integration_id)
    return found


async def health_events(database: Database) -> list[Announced]:
    return [
        each
        for each in await announced(database)
        if each.event.startswith(("integration.alert", "integration.health", "hub."))
    ]


async def last_check(database: Database, found: Outcome) -> tuple[str, str | None]:
    async with database.transaction(found.target.tenant_id) as transaction:
        state = await transaction.schedule.get(found.target.integration_id)
    assert state.last_check is not None
    return state.last_check.status, state.last_check.error_message


async def test_when_every_host_is_gone_at_once_it_is_us_and_told_once(database: Database) -> None:
    for number in range(HOSTS):
        await register(database, config={"endpoint": f"https://host-{number}.test"})
    network, metrics = Network(), Metrics()
    worker = a_worker(database, network, metrics=metrics)
    await check_all(database, worker)
    await health_events(database)

    network.finds = REFUSED
    for _ in range(5):
        found = await check_all(database, worker)
        await worker.tell(database)

    [lost] = await health_events(database)
    assert lost.event == "hub.egress.lost"
    assert (lost.body["tenantid"], lost.body["subject"]) == ("_system", "egress")
    assert b'integration_hub_condition{condition="egress"} 1.0' in metrics.exposition()
    status, message = await last_check(database, found[0])
    assert status == "unknown"
    assert message is not None
    assert message.startswith("This worker has no way out")
    async with database.transaction(found[0].target.tenant_id) as transaction:
        integration = await transaction.integrations.get(found[0].target.integration_id)
    assert integration.status == "healthy"

    network.finds = WELL
    await check_all(database, worker)
    await worker.tell(database)
    await worker.tell(database)

    [restored] = await health_events(database)
    assert restored.event == "hub.egress.restored"
    assert restored.body["data"]["since"] <= restored.body["time"]
    assert b'integration_hub_condition{condition="egress"} 0.0' in metrics.exposition()


async def test_an_outage_of_one_host_among_many_is_theirs(database: Database) -> None:
    down = await register(database, config={"endpoint": "https://down.test"}, failure_threshold=1)
    for number in range(HOSTS):
        await register(database, config={"endpoint": f"https://host-{number}.test"})

    class OneDown(Network):
        async def probe(self, target: Target) -> Outcome:
            return outcome(target, REFUSED if target.integration_id == down.id else WELL)

    worker = a_worker(database, OneDown())
    await check_all(database, worker)
    await worker.tell(database)

    events = [each.event for each in await health_events(database)]
    assert events.count("integration.alert.opened") == 1
    assert not [each for each in events if each.startswith("hub.")]


async def test_workers_that_lose_the_way_out_together_are_told_once_and_after_the_last(
    database: Database,
) -> None:
    network = Network()
    network.finds = REFUSED
    birds = [Bird(sings=False) for _ in range(3)]
    workers = [
        a_worker(database, network, name=f"worker-{number}", canary=bird)
        for number, bird in enumerate(birds)
    ]
    await register(database, config={"endpoint": "https://host.test"}, failure_threshold=1)

    for worker in workers:
        await check_all(database, worker)
        await worker.tell(database)
    assert [each.event for each in await health_events(database)] == ["hub.egress.lost"]

    for worker, bird in zip(workers, birds, strict=True):
        bird.is_well = True
        assert await health_events(database) == []
        await worker.tell(database)
    assert [each.event for each in await health_events(database)] == ["hub.egress.restored"]


async def test_what_a_worker_that_is_gone_had_is_over(
    database: Database, database_url: str
) -> None:
    network = Network()
    network.finds = REFUSED
    worker = a_worker(database, network, canary=Bird(sings=False))
    await register(database, config={"endpoint": "https://host.test"})
    await check_all(database, worker)
    await worker.tell(database)
    await forget_the_gone(database)
    assert [each.event for each in await health_events(database)] == ["hub.egress.lost"]

    with psycopg.connect(database_url) as connection:
        connection.execute("update hub_conditions set seen_at = now() - interval '3 minutes'")
    await forget_the_gone(database)
    await forget_the_gone(database)

    assert [each.event for each in await health_events(database)] == ["hub.egress.restored"]


async def test_a_canary_that_answers_says_that_the_host_is_down(database: Database) -> None:
    await register(database, config={"endpoint": "https://host.test"}, failure_threshold=1)
    network = Network()
    network.finds = REFUSED
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    address = server.sockets[0].getsockname()[:2]
    clock = Clock()
    worker = a_worker(database, network, canary=Canary([address], clock))

    async with server:
        await check_all(database, worker)
    events = [each.event for each in await health_events(database)]
    assert "integration.alert.opened" in events

    clock.now += FRESH_SECONDS
    await register(database, config={"endpoint": "https://other.test"}, failure_threshold=1)
    await check_all(database, worker)
    await worker.tell(database)
    assert [each.event for each in await health_events(database)] == ["hub.egress.lost"]


async def test_a_vault_that_is_gone_for_every_tenant_is_ours(database: Database) -> None:
    for number in range(HOSTS):
        await register(
            database,
            tenant="acme" if number % 2 else "globex",
            auth_ref_uri=f"authref://vault/ci/{number}",
            failure_threshold=1,
        )
    network = Network()
    network.finds = SEALED
    worker = a_worker(database, network)

    found = await check_all(database, worker)
    await worker.tell(database)

    [lost] = await health_events(database)
    assert (lost.event, lost.body["data"]["vault"]) == ("hub.vault.lost", "vault")
    assert (await last_check(database, found[0]))[0] == "unknown"


async def test_what_was_in_doubt_stays_so_while_we_have_no_way_out(database: Database) -> None:
    integration = await register(database, config={"endpoint": "https://host.test"})
    network = Network()
    network.finds = REFUSED
    await check_all(database, a_worker(database, network))

    await check_all(database, a_worker(database, network, canary=Bird(sings=False)))

    async with database.transaction("acme") as transaction:
        state = await transaction.schedule.get(integration.id)
    assert (state.consecutive_failures, state.last_healthy_at) == (1, None)
