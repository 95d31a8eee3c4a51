"""Checks side by side: what one waits for, another need not."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from tests.support.catalog import outcome
from tests.unit.health_worker.plugin_doubles import TARGET

from stella_contracts.errors import DatabaseUnavailable
from stella_contracts.health import ErrorCode, HealthResult, Step, StepResult
from stella_health_worker.breakers import Breakers
from stella_health_worker.lanes import Lanes
from stella_health_worker.limits import Limits
from stella_runtime.ids import new_id
from stella_runtime.persistence.scheduling import Outcome, Target

DIALLED = [Step(name="connect", result=StepResult.PASSED)]


def target(host: str = "live", *, tenant: str = "acme") -> Target:
    config = {"endpoint": f"https://{host}.test"}
    return replace(TARGET, integration_id=new_id(), tenant_id=tenant, config=config)


def host_of(checked: Target) -> str:
    return str(checked.config["endpoint"]).removeprefix("https://").removesuffix(".test")


class Prober:
    """Live targets answer at once; the others when the test says, or never."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.fails: set[str] = set()
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.probed: list[Target] = []

    async def probe(self, target: Target) -> Outcome:
        host = host_of(target)
        self.probed.append(target)
        self.running[host] += 1
        self.most[host] = max(self.most[host], self.running[host])
        try:
            if host.startswith("dead"):
                await self.answer.wait()
        finally:
            self.running[host] -= 1
        if host in self.fails:
            return outcome(target, HealthResult.unhealthy(ErrorCode.CONNECT, "no"), steps=DIALLED)
        return outcome(target, HealthResult.healthy(), steps=DIALLED)


class Recorder:
    def __init__(self) -> None:
        self.recorded: list[Outcome] = []
        self.lets = asyncio.Event()
        self.lets.set()
        self.error: Exception | None = None

    async def record(self, outcome: Outcome) -> None:
        await self.lets.wait()
        if self.error is not None:
            raise self.error
        self.recorded.append(outcome)

    def of(self, host: str) -> list[Outcome]:
        return [each for each in self.recorded if host_of(each.target) == host]


class Leases:
    margin = timedelta(seconds=30)

    def __init__(self) -> None:
        self.renewed: list[UUID] = []
        self.released: list[UUID] = []
        self.lost: set[UUID] = set()
        self.away = False

    async def renew(self, targets: Sequence[Target]) -> set[UUID]:
        if self.away:
            raise DatabaseUnavailable
        self.renewed += [each.integration_id for each in targets]
        return set(self.renewed) - self.lost

    async def release(self, targets: Sequence[Target]) -> None:
        self.released += [each.integration_id for each in targets]


class Counts:
    def __init__(self) -> None:
        self.refused = 0
        self.aside = 0
        self.given_up: Counter[str] = Counter()

    def check_refused(self) -> None:
        self.refused += 1

    def check_given_up(self, reason: str) -> None:
        self.given_up[reason] += 1

    def checks_aside(self, checks: int) -> None:
        self.aside = checks


class Worker:
    """Lanes, and the doubles around them."""

    def __init__(self, *, live: int = 5, slow: int = 5, host: int = 2, tenant: int = 100) -> None:
        self.prober, self.recorder = Prober(), Recorder()
        self.leases, self.counts = Leases(), Counts()
        self.lanes = Lanes(
            prober=self.prober,
            recorder=self.recorder,
            leases=self.leases,
            limits=Limits(per_host=host, per_tenant=tenant),
            breakers=Breakers(asyncio.get_running_loop().time),
            counters=self.counts,
            live=live,
            slow=slow,
            worker="tests",
            now=lambda: datetime.now(UTC),
            patience_seconds=0.01,
        )


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_message_whose_last_check_hangs_is_settled_without_it() -> None:
    worker = Worker()
    hanging = target("dead")

    await worker.lanes.run([target(), hanging, target("other")])

    assert len(worker.recorder.recorded) == 2
    assert worker.leases.renewed == [hanging.integration_id]
    assert worker.counts.aside == 1
    worker.prober.answer.set()
    await worker.lanes.drain(60)
    assert len(worker.recorder.of("dead")) == 1
    assert worker.leases.released == []


async def test_a_result_is_committed_before_its_message_is_settled() -> None:
    worker = Worker()
    worker.recorder.lets.clear()

    message = asyncio.create_task(worker.lanes.run([target()]))
    done, _ = await asyncio.wait({message}, timeout=0.05)

    assert not done
    worker.recorder.lets.set()
    await message
    assert len(worker.recorder.recorded) == 1
    assert worker.leases.renewed == []


async def test_a_worker_that_is_short_of_time_takes_no_more_at_once() -> None:
    worker = Worker()
    rounds = 0

    async def keep_busy() -> None:
        nonlocal rounds
        while True:
            time.sleep(0.03)
            rounds += 1
            await asyncio.sleep(0)

    busy = asyncio.create_task(keep_busy())
    message = asyncio.create_task(worker.lanes.run([target("dead")]))
    while rounds < 20:  # noqa: ASYNC110 - until it was asked several times
        await asyncio.sleep(0)
    assert not message.done()
    assert worker.counts.aside == 0

    busy.cancel()
    await message
    assert worker.counts.aside == 1
    await worker.lanes.drain(0)


async def test_a_message_is_not_settled_while_the_lease_cannot_be_renewed() -> None:
    worker = Worker()
    worker.leases.away = True

    message = asyncio.create_task(worker.lanes.run([target("dead")]))
    done, _ = await asyncio.wait({message}, timeout=0.05)

    assert not done
    worker.prober.answer.set()
    await message
    assert len(worker.recorder.recorded) == 1


async def test_checks_of_a_busy_host_hold_no_slot_that_others_need() -> None:
    worker = Worker(live=3, host=2)

    await worker.lanes.run([*(target("dead") for _ in range(20)), *(target() for _ in range(9))])

    assert len(worker.recorder.of("live")) == 9
    assert worker.prober.most["dead"] == 2
    worker.prober.answer.set()
    await worker.lanes.drain(60)
    assert len(worker.recorder.of("dead")) == 20
    assert worker.prober.most["dead"] == 2


async def test_a_tenant_cannot_fill_the_worker() -> None:
    worker = Worker(live=4, tenant=2)

    await worker.lanes.run([target(f"dead-{number}", tenant="big") for number in range(10)])
    await worker.lanes.run([target(tenant="small")])

    assert len(worker.recorder.of("live")) == 1
    await worker.lanes.drain(0)


async def test_with_every_dead_check_hanging_all_live_checks_finish() -> None:
    worker = Worker(live=10, slow=400)
    messages = [
        [target(f"dead-{number}"), *(target(f"live-{number}-{one}") for one in range(9))]
        for number in range(100)
    ]

    for message in messages:
        await worker.lanes.run(message)

    assert len(worker.recorder.recorded) == 900
    worker.prober.answer.set()
    await worker.lanes.drain(60)
    assert len(worker.recorder.recorded) == 1000


async def test_slow_checks_have_a_lane_of_their_own() -> None:
    worker = Worker(live=1, slow=1)
    hanging = asyncio.create_task(
        worker.lanes.run([target(f"dead-{number}") for number in range(3)], slow=True)
    )
    await settled()

    await worker.lanes.run([target()])

    assert len(worker.recorder.of("live")) == 1
    worker.prober.answer.set()
    await hanging
    await worker.lanes.drain(60)
    assert len(worker.recorder.recorded) == 4


async def test_a_host_that_does_not_answer_is_refused_with_the_reason() -> None:
    worker = Worker()
    worker.prober.fails.add("down")

    await worker.lanes.run([target("down") for _ in range(12)])

    assert len(worker.prober.probed) == 5
    refused = worker.recorder.of("down")[5:]
    assert len(refused) == 7
    assert {each.result.error_code for each in refused} == {"connect"}
    for each in refused:
        assert each.result.error_message is not None
        assert each.result.error_message.startswith("The host did not answer 5 times in a row")
    assert worker.counts.refused == 7


async def test_who_asks_for_a_check_is_never_refused_and_never_waits() -> None:
    worker = Worker(live=1, host=1)
    worker.prober.fails.add("down")
    await worker.lanes.run([target("down") for _ in range(9)])
    worker.prober.fails.clear()

    await worker.lanes.run_now(target("down"))
    await worker.lanes.run([target("down")])

    assert [each.result.status for each in worker.recorder.of("down")[-2:]] == ["healthy"] * 2


async def test_a_check_that_would_outlive_its_lease_is_given_up() -> None:
    worker = Worker(host=1)
    busy = asyncio.create_task(worker.lanes.run([target("dead")]))
    await busy

    await worker.lanes.run([replace(target("dead"), lease_seconds=TARGET.timeout_seconds)])
    await settled()

    assert worker.counts.given_up == {"held_up": 1}
    worker.prober.answer.set()
    await worker.lanes.drain(60)
    assert len(worker.recorder.recorded) == 1


async def test_a_check_whose_lease_was_lost_is_not_carried_on() -> None:
    worker = Worker()
    lost = target("dead")
    worker.leases.lost.add(lost.integration_id)

    await worker.lanes.run([lost])
    await settled()

    assert worker.counts.aside == 0
    assert worker.prober.running["dead"] == 0
    assert worker.recorder.recorded == []


async def test_what_is_not_drained_in_time_is_ended_and_its_lease_given_back() -> None:
    worker = Worker()
    hanging = [target(f"dead-{number}") for number in range(3)]
    await worker.lanes.run(hanging)

    await worker.lanes.drain(0.01)

    assert set(worker.leases.released) == {each.integration_id for each in hanging}
    assert worker.counts.aside == 0
    assert +worker.prober.running == Counter()


async def test_a_message_that_is_cancelled_ends_its_checks() -> None:
    worker = Worker()
    worker.leases.away = True
    message = asyncio.create_task(worker.lanes.run([target("dead"), target("dead-too")]))
    await settled()

    message.cancel()
    await asyncio.wait({message})

    assert +worker.prober.running == Counter()
    assert worker.counts.aside == 0


@pytest.mark.parametrize("slow", [False, True])
async def test_what_cannot_be_stored_is_not_settled(slow: bool) -> None:
    worker = Worker()
    worker.recorder.error = DatabaseUnavailable()

    with pytest.raises(DatabaseUnavailable):
        await worker.lanes.run([target(), target("other")], slow=slow)
