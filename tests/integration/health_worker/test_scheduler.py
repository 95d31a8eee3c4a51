"""Several schedulers on many due rows, workers that are busy, and a bus that is away."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack

import pytest
from tests.integration.health_worker.whole import Told

from stella_contracts.errors import BusUnavailable
from stella_contracts.messages import RunScheduledChecks
from stella_health_worker.scheduler import Scheduler
from stella_runtime.messaging.bus import Depth, Message
from stella_runtime.messaging.in_process import InProcessBus
from stella_runtime.messaging.topology import SCHEDULE, SLOW
from stella_runtime.persistence import Database, open_engine
from stella_runtime.telemetry.metrics import Metrics

ROWS = 20_000
MANY = """
with added as (
    insert into integrations (id, tenant_id, type, name, config_json, check_interval_seconds,
        check_timeout_seconds)
    select gen_random_uuid(), 'acme', 'in-memory', 'tool-' || n, '{}', 86400, 10
    from generate_series(1, %s) n returning id, tenant_id)
insert into schedule_state (integration_id, tenant_id, next_check_at)
select id, tenant_id, now() from added
"""


FAILING = """
update schedule_state set consecutive_failures = 3, checks_done = 3,
    last_check = '{"errorCode": "connect"}'
"""


class Bus:
    """Keeps what is published; away after so many messages. As full as it is said to be."""

    def __init__(self, *, away_after: int | None = None) -> None:
        self.published: list[RunScheduledChecks] = []
        self.away_after = away_after
        self.depths = {SCHEDULE: Depth(0, 1), SLOW: Depth(0, 1)}

    async def measure(self, queues: Sequence[str]) -> Mapping[str, Depth]:
        return self.depths

    async def publish(self, message: Message) -> None:
        if self.away_after is not None and len(self.published) >= self.away_after:
            raise BusUnavailable("away")
        self.published.append(RunScheduledChecks.model_validate_json(message.body))

    @property
    def checks(self) -> Counter[tuple[object, int]]:
        return Counter(
            (check.integration_id, check.lease_token)
            for command in self.published
            for check in command.checks
        )


@pytest.fixture
def told(database_url: str) -> Iterator[Told]:
    told = Told(database_url)
    yield told
    told.close()


async def test_four_schedulers_claim_each_of_many_rows_once(database_url: str, told: Told) -> None:
    told.execute(MANY, ROWS)
    bus = Bus()

    async def until_none_is_due(scheduler: Scheduler) -> None:
        while (await scheduler.tick()).rows:
            pass

    async with AsyncExitStack() as stack:
        schedulers = []
        for _ in range(4):
            database = Database(open_engine(database_url, pool_size=2, application="tests"))
            stack.push_async_callback(database.close)
            schedulers.append(Scheduler(database, bus, Metrics()))
        await asyncio.gather(*(until_none_is_due(each) for each in schedulers))

    assert len(bus.checks) == ROWS
    assert set(bus.checks.values()) == {1}
    assert told.rows("select distinct lease_token from schedule_state") == [(1,)]


async def test_what_could_not_be_published_is_due_at_once_when_the_bus_is_back(
    database: Database, told: Told
) -> None:
    told.execute(MANY, 120)
    bus = Bus(away_after=1)
    scheduler = Scheduler(database, bus, Metrics())

    with pytest.raises(BusUnavailable):
        await scheduler.tick()
    assert len(bus.checks) == 50

    bus.away_after = None
    assert (await scheduler.tick()).rows == 70
    assert len({integration for integration, _ in bus.checks}) == 120


async def test_no_more_is_claimed_than_workers_take_soon(database: Database, told: Told) -> None:
    told.execute(MANY, 500)
    bus = Bus()
    scheduler = Scheduler(database, bus, Metrics())

    bus.depths[SCHEDULE] = Depth(messages=20, consumers=1)
    assert (await scheduler.tick()).rows == 0
    bus.depths[SCHEDULE] = Depth(messages=18, consumers=1)
    assert (await scheduler.tick()).rows == 100
    bus.depths[SCHEDULE] = Depth(messages=20, consumers=2)
    assert (await scheduler.tick()).rows == 400

    assert set(bus.checks.values()) == {1}


async def test_without_workers_the_schedule_waits_in_the_database(
    database: Database, told: Told
) -> None:
    told.execute(MANY, 3000)
    async with InProcessBus() as bus:
        scheduler = Scheduler(database, bus, Metrics())

        for _ in range(5):
            await scheduler.tick()

        assert (await bus.measure([SCHEDULE]))[SCHEDULE] == Depth(messages=20, consumers=0)
    due = "select count(*) from schedule_state where slot_at is null and next_check_at <= now()"
    assert told.number(due) == 2000


async def test_dead_targets_that_find_no_room_keep_no_others_waiting(
    database: Database, told: Told
) -> None:
    told.execute(MANY, 120)
    told.execute(FAILING)
    told.execute(MANY.replace("tool-", "live-"), 30)
    bus = Bus()
    bus.depths[SLOW] = Depth(messages=7, consumers=1)
    scheduler = Scheduler(database, bus, Metrics())

    assert (await scheduler.tick()).rows == 150

    assert sorted(len(command.checks) for command in bus.published) == [30, 50]
    put_off = "select count(*) from schedule_state where next_check_at > now() and {} < put_off_at"
    spread = "next_check_at - interval '60 s'"
    assert told.number(put_off.format(spread)) == 70
