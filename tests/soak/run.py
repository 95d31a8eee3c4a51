"""The soak: time passes faster, processes are killed, and at the end everything is counted."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field

from tests.soak.held import Held, Sample, sample
from tests.soak.ledger import Account, Ledger
from tests.support.processes import System
from tests.support.rabbitmq import Management
from tests.support.subscriber import Subscriber, eventually, subscribed

STEP_SECONDS = 0.5
SETTLED_SECONDS = 15
"""The broker tells of channels some seconds late: so long their number must have been the same."""
SETTLE_LIMIT_SECONDS = 120
CHECKS_OF_AN_OUTAGE = 6
"""After so many counted checks, every outage of the scripts has begun and ended."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, and for how long."""

    integrations: int
    seconds: float
    """In which processes are killed."""
    factor: float
    """How much faster the schedule's time passes than ours."""
    interval_seconds: int = 60
    timeout_seconds: int = 10
    """And half a minute: so long a check is missing whose message was lost with a scheduler."""
    steady_seconds: float = 0
    """After that, in which nobody is killed and what each process holds is measured."""
    schedulers: int = 2
    workers: int = 3
    kill_every_seconds: float = 8
    rest_seconds: float = 300
    """What is left may take so long at the end."""
    seed: int = 1


@dataclass
class Report:
    """What happened."""

    account: Account
    held: Held
    seconds: float
    kills: dict[str, int] = field(default_factory=dict)
    deliveries: int = 0
    """Of events, repetitions among them."""
    events: int = 0


async def run(
    plan: Plan, system: System, database_url: str, amqp_url: str, management: Management
) -> Report:
    """Run the plan on an empty database and a virtual host of its own."""
    schedulers = [f"scheduler-{number}" for number in range(plan.schedulers)]
    workers = [f"worker-{number}" for number in range(plan.workers)]
    with closing(Ledger(database_url)) as ledger:
        await system.start("discovery", *schedulers, *workers)
        async with subscribed(amqp_url) as subscriber:
            started = time.monotonic()
            ledger.register(
                plan.integrations,
                interval_seconds=plan.interval_seconds,
                timeout_seconds=plan.timeout_seconds,
            )
            async with _time_passing(ledger, plan.factor):
                kills = await _kill(plan, system, schedulers, workers)
                samples = await _watch(plan, system, [*schedulers, *workers], management, amqp_url)
                await eventually(
                    lambda: ledger.fewest_checks() >= CHECKS_OF_AN_OUTAGE, seconds=plan.rest_seconds
                )
            await _come_to_rest(ledger, subscriber, plan.rest_seconds)
            return Report(
                account=ledger.account(subscriber),
                held=Held(samples),
                seconds=time.monotonic() - started,
                kills=kills,
                deliveries=subscriber.deliveries.total(),
                events=len(subscriber.events),
            )


@asynccontextmanager
async def _time_passing(ledger: Ledger, factor: float) -> AsyncIterator[None]:
    async def pass_time() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(STEP_SECONDS)
            now = time.monotonic()
            # Our own time has passed as well.
            await asyncio.to_thread(ledger.pass_time, (now - last) * (factor - 1))
            last = now

    passing = asyncio.create_task(pass_time())
    try:
        yield
    finally:
        passing.cancel()
        await asyncio.wait([passing])


async def _kill(
    plan: Plan, system: System, schedulers: list[str], workers: list[str]
) -> dict[str, int]:
    """Kill somebody again and again: mostly workers. Whoever is killed is started again."""
    chance = random.Random(plan.seed)
    kills = dict.fromkeys([*schedulers, *workers], 0)
    end = time.monotonic() + plan.seconds
    while (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(left, plan.kill_every_seconds * chance.uniform(0.5, 1.5)))
        victim = chance.choice(workers * 2 + schedulers)
        kills[victim] += 1
        await system.kill(victim)
        await system.start(victim)
    return kills


async def _watch(
    plan: Plan, system: System, names: list[str], management: Management, amqp_url: str
) -> list[Sample]:
    virtual_host = amqp_url.rpartition("/")[2]

    async def look() -> Sample:
        await asyncio.sleep(1)
        pids = {name: system.pid(name) for name in names}
        return await asyncio.to_thread(sample, pids, management, virtual_host)

    samples: list[Sample] = []
    if not plan.steady_seconds:
        return samples
    await _settle(look)
    end = time.monotonic() + plan.steady_seconds
    while time.monotonic() < end:
        samples.append(await look())
    return samples


async def _settle(look: Callable[[], Awaitable[Sample]]) -> None:
    """Whoever was started last opens its channels when the others have long had theirs."""
    channels, since = -1, 0.0
    async with asyncio.timeout(SETTLE_LIMIT_SECONDS):
        while channels < 0 or time.monotonic() - since < SETTLED_SECONDS:
            now = (await look()).channels
            if now != channels:
                channels, since = now, time.monotonic()


async def _come_to_rest(ledger: Ledger, subscriber: Subscriber, seconds: float) -> None:
    """Give no more slots; wait until those that are open are closed and all is announced."""

    def is_at_rest() -> bool:
        ledger.give_no_more_slots()
        return not ledger.open_slots() and not ledger.unpublished()

    await eventually(is_at_rest, seconds=seconds)
    announced = ledger.announced()
    await eventually(lambda: announced <= subscriber.events.keys(), seconds=seconds)
