"""Whatever happens in whatever order, what is told is balanced, and true when it is calm."""

import random
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from tests.support.catalog import (
    TENANT,
    Announced,
    announced,
    claim,
    edit,
    make_due,
    outcome,
    register,
)
from tests.support.checking import REFUSED, REJECTED, SEALED, SLOW, WELL, record

from stella_contracts.health import HealthResult, IntegrationStatus
from stella_contracts.mutes import MuteCreate
from stella_health_worker.alerts import announce_held
from stella_health_worker.flapping import LONGEST_WINDOW
from stella_health_worker.recording import record_outcomes
from stella_runtime.persistence import Database
from stella_runtime.persistence.scheduling import Outcome
from stella_runtime.telemetry.metrics import Metrics

FOUND = [WELL, WELL, WELL, SLOW, REFUSED, REFUSED, REJECTED, SEALED]
STEPS = 40


class Crash(Exception):
    """The worker was killed before its commit."""


class World:
    """A tenant whose integrations share hosts and a vault, and all that befalls them."""

    def __init__(self, database: Database, seed: int) -> None:
        self._database = database
        self._random = random.Random(seed)
        self.ids: list[UUID] = []
        self.events: list[Announced] = []
        self._mutes: list[UUID] = []

    async def build(self) -> None:
        for number in range(8):
            thresholds = self._random.choice([(1, 1), (3, 2), (2, 1)])
            integration = await register(
                self._database,
                config={"endpoint": f"https://host-{number % 2}.test"},
                auth_ref_uri="authref://vault/ci/harbor",
                tags=["eu"] if number % 3 == 0 else [],
                failure_threshold=thresholds[0],
                success_threshold=thresholds[1],
            )
            self.ids.append(integration.id)

    async def step(self) -> None:
        happens = self._random.choices(
            [self.check, self.crash, self.deliver_twice, self.mute, self.unmute, self.change],
            weights=[12, 2, 2, 1, 1, 1],
        )[0]
        await happens()
        self.events += await announced(self._database)

    async def check(self) -> None:
        await record(self._database, *await self._outcomes())

    async def crash(self) -> None:
        found = await self._outcomes()
        with suppress(Crash):
            async with self._database.system_transaction() as transaction:
                await record_outcomes(transaction, found, Metrics())
                raise Crash
        await record(self._database, *found)

    async def deliver_twice(self) -> None:
        found = await self._outcomes()
        await record(self._database, *found, *found)
        await record(self._database, *found)

    async def mute(self) -> None:
        now = datetime.now(UTC)
        new = MuteCreate(
            tag=self._random.choice(["eu", None]),
            reason="Upgrade",
            ends_at=now + timedelta(hours=1),
        )
        async with self._database.transaction(TENANT) as transaction:
            made = await transaction.mutes.add(
                new, starts_at=now, created_by="alice", created_at=now
            )
        self._mutes.append(made.id)

    async def unmute(self) -> None:
        if self._mutes:
            async with self._database.transaction(TENANT) as transaction:
                await transaction.mutes.delete(self._mutes.pop())
        await announce_held(self._database)

    async def change(self) -> None:
        """An edit in the middle of a check: the result of the former version changes nothing."""
        found = await self._outcomes()
        await edit(self._database, self._random.choice(self.ids), description="Changed")
        await record(self._database, *found)

    async def calm_down(self) -> None:
        """Everything is well for long enough, and nothing is muted."""
        while self._mutes:
            await self.unmute()
        for _ in range(LONGEST_WINDOW + 2):
            await record(self._database, *await self._outcomes(everyone=True, finds=WELL))
        await announce_held(self._database)
        self.events += await announced(self._database)

    async def statuses(self) -> dict[str, IntegrationStatus]:
        async with self._database.transaction(TENANT) as transaction:
            found = [await transaction.integrations.get(each) for each in self.ids]
        return {str(each.id): each.status for each in found}

    async def _outcomes(
        self, *, everyone: bool = False, finds: HealthResult | None = None
    ) -> list[Outcome]:
        asked = self.ids if everyone else self._random.sample(self.ids, 5)
        for integration_id in asked:
            await make_due(self._database, integration_id)
        # Often the same for all of a batch, as when a host goes down.
        shared = self._random.choice([None, *FOUND])
        return [
            outcome(target, finds or shared or self._random.choice(FOUND))
            for target in await claim(self._database, 100)
            if target.integration_id in asked
        ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.timeout(180)
async def test_each_outage_that_is_told_ends_once_and_what_was_told_last_is_so(
    database: Database, seed: int
) -> None:
    world = World(database, seed)
    await world.build()
    for _ in range(STEPS):
        await world.step()
    await world.calm_down()

    opened: Counter[str] = Counter()
    resolved: Counter[str] = Counter()
    flapping: defaultdict[str, list[str]] = defaultdict(list)
    last_status: dict[str, str] = {}
    for each in world.events:
        subject, data = each.body["subject"], each.body["data"]
        if each.event == "integration.alert.opened":
            opened[data["incidentId"]] += 1
        elif each.event == "integration.alert.resolved":
            resolved[data["incidentId"]] += 1
            assert opened[data["incidentId"]] == 1, "an end without its beginning"
        elif each.event == "integration.health.changed":
            assert data["previousStatus"] == last_status.get(subject, "unknown")
            assert (flapping[subject] or ["stable"])[-1] == "stable", "told while it flaps"
            last_status[subject] = data["status"]
        elif each.event.startswith("integration.health."):
            flapping[subject].append(each.event.rpartition(".")[2])
    assert opened, "nothing was told at all: the test tests nothing"
    assert opened == resolved
    assert set(opened.values()) == {1}
    for told in flapping.values():
        assert told == ["flapping", "stable"] * (len(told) // 2)
    assert last_status == await world.statuses()
    assert set(last_status.values()) == {"healthy"}
