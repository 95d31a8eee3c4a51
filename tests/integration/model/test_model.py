"""
The catalog under every order of events that a machine can think of.

Hypothesis drives the real code on a real database: people who register, edit, pause, delete and
ask for checks; a scheduler, a worker and a relay that die between any two steps; messages that
come late, twice, in another order or never; hours that pass. After each step it is compared with
a model that knows what was promised, and no more: see `promises`.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.integration.model.world import Row, World

from stella_contracts.health import ErrorCode, HealthResult
from stella_runtime.messaging.bus import Message
from stella_runtime.messaging.topology import ON_DEMAND
from stella_runtime.persistence import Database, open_engine
from stella_runtime.persistence.scheduling import Outcome

MOST_INTEGRATIONS = 3
A_WHILE_SECONDS = 400
LEAST_ROUNDS = 4
MOST_ROUNDS = 12
"""A target that is gone is left alone for up to an hour, and after that has to be well twice."""
OPENED = "integration.alert.opened"
RESOLVED = "integration.alert.resolved"
CHANGED = "integration.health.changed"
UPDATED = "integration.updated"

RESULTS = {
    "healthy": HealthResult.healthy(),
    "refused": HealthResult.unhealthy(ErrorCode.CONNECT, "The connection was refused"),
    "timeout": HealthResult.unhealthy(ErrorCode.TIMEOUT, "No result within 10 s"),
}
CHANGES: dict[str, dict[str, Any]] = {
    "pause": {"enabled": False},
    "resume": {"enabled": True},
    "threshold": {"failureThreshold": 2},
    "interval": {"checkIntervalSeconds": 60},
}

ResultT = TypeVar("ResultT")


@dataclass
class Slots:
    """The slots of one integration: how many were given out, and what became of them."""

    given: int = 0
    counted: int = 0
    withdrawn: int = 0
    """By an edit, a pause or a deletion."""

    @property
    def open(self) -> int:
        return self.given - self.counted - self.withdrawn


class Catalog(RuleBasedStateMachine):
    """What may happen, and what was promised."""

    def __init__(self, world: World, runner: asyncio.Runner) -> None:
        super().__init__()
        self._world = world
        self._runner = runner
        self._checked: list[UUID] = []
        """Those that are not deleted."""
        self._slots: dict[UUID, Slots] = {}
        self._first_status: dict[UUID, str] = {}
        self._finished: set[UUID] = set()
        """Checks whose result is to be in the history."""
        self._seen: set[UUID] = set()
        """Checks that a worker was given."""
        self._queue: list[Message] = []
        self._found: list[Outcome] = []
        """What workers have found, and not stored."""
        self._edits = 0
        self._is_intact = False

    def _run(self, step: Coroutine[Any, Any, ResultT]) -> ResultT:
        self._is_intact = False
        return self._runner.run(step)

    @initialize(failures=st.integers(1, 3), successes=st.integers(1, 2))
    def begin(self, failures: int, successes: int) -> None:
        self._world.begin()
        self._register(failures, successes, enabled=True)

    # People.

    @precondition(lambda self: len(self._checked) < MOST_INTEGRATIONS)
    @rule(failures=st.integers(1, 3), successes=st.integers(1, 2), enabled=st.booleans())
    def register(self, failures: int, successes: int, enabled: bool) -> None:
        self._register(failures, successes, enabled=enabled)

    def _register(self, failures: int, successes: int, *, enabled: bool) -> None:
        identifier = self._run(
            self._world.register(
                failureThreshold=failures, successThreshold=successes, enabled=enabled
            )
        )
        self._checked.append(identifier)
        self._slots[identifier] = Slots()
        self._first_status[identifier] = "unknown" if enabled else "disabled"

    @precondition(lambda self: self._checked)
    @rule(data=st.data(), change=st.sampled_from([*CHANGES, "config", "description"]))
    def change(self, data: st.DataObject, change: str) -> None:
        identifier = data.draw(st.sampled_from(self._checked))
        self._edits += 1
        if change == "config":
            config = {"endpoint": f"https://e{self._edits}.test", "project": "p"}
            changes: dict[str, Any] = {"config": config}
        elif change == "description":
            changes = {"description": f"edit {self._edits}"}
        else:
            changes = CHANGES[change]
        self._run(self._world.change(identifier, **changes))
        self._withdraw(identifier)

    @precondition(lambda self: self._checked)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        identifier = data.draw(st.sampled_from(self._checked))
        self._run(self._world.remove(identifier))
        self._checked.remove(identifier)
        self._withdraw(identifier)

    @precondition(lambda self: self._checked)
    @rule(data=st.data())
    def request_check(self, data: st.DataObject) -> None:
        identifier = data.draw(st.sampled_from(self._checked))
        if self._world.rows()[identifier].is_checked:
            self._run(self._world.request_check(identifier))

    # Machines.

    @rule(broker_takes=st.sampled_from([None, None, 0]))
    def tick(self, broker_takes: int | None) -> None:
        before, messages = self._world.rows(), len(self._world.wire.taken)
        self._run(self._world.tick(broker_takes=broker_takes))
        for identifier, row in self._world.rows().items():
            if row.has_lease and not before[identifier].has_lease:
                assert row.is_checked, "a slot was given to what is paused or deleted"
                self._slots[identifier].given += 1
        self._queue += self._world.wire.taken[messages:]

    @rule(
        limit=st.integers(1, 10),
        broker_takes=st.sampled_from([None, None, 0, 1, 3]),
        dies=st.booleans(),
    )
    def relay(self, limit: int, broker_takes: int | None, dies: bool) -> None:
        messages = len(self._world.wire.taken)
        self._run(self._world.relay(limit=limit, broker_takes=broker_takes, dies=dies))
        new = self._world.wire.taken[messages:]
        self._queue += [each for each in new if each.routing_key == ON_DEMAND]

    @rule(result=st.sampled_from(sorted(RESULTS)))
    def a_round(self, result: str) -> None:
        """What happens most: who is due is checked. It is not stored yet, and may come again."""
        self.turns_come()
        self.tick(None)
        self.relay(limit=20, broker_takes=None, dies=False)
        for message in self._queue[-2:]:
            self._found += sorted(
                self._run(self._world.probe(message, RESULTS[result])), key=self._age_of
            )

    @precondition(lambda self: self._queue)
    @rule(
        data=st.data(),
        result=st.sampled_from(sorted(RESULTS)),
        becomes=st.sampled_from(["acknowledged", "redelivered"]),
    )
    def probe(self, data: st.DataObject, result: str, becomes: str) -> None:
        """A worker takes a message, in whatever order, and finds something."""
        message = data.draw(st.sampled_from(self._queue))
        rows = self._world.rows()
        outcomes = self._run(self._world.probe(message, RESULTS[result]))
        for each in outcomes:
            assert rows[each.target.integration_id].is_checked, "what is paused was checked"
        self._found += sorted(outcomes, key=self._age_of)
        if becomes == "acknowledged":
            self._queue.remove(message)

    @precondition(lambda self: self._found)
    @rule(data=st.data(), twice=st.booleans())
    def record(self, data: st.DataObject, twice: bool) -> None:
        """A worker stores what was found, some of it late, some of it once more."""
        order = data.draw(st.permutations(self._found))
        batch = order[: data.draw(st.integers(1, len(order)))]
        self._expect(batch + batch if twice else batch)
        self._run(self._world.record(batch + batch if twice else batch))
        if not data.draw(st.booleans(), label="comes again"):
            self._found = [each for each in self._found if each not in batch]

    @precondition(lambda self: self._found)
    @rule()
    def worker_dies(self) -> None:
        self._found.clear()

    @precondition(lambda self: self._queue)
    @rule(data=st.data())
    def message_is_lost(self, data: st.DataObject) -> None:
        self._queue.remove(data.draw(st.sampled_from(self._queue)))

    # Time. What is left to chance, such as the jitter of an id, may not decide who is due: or an
    # example would not be the same the next time.

    @rule()
    def turns_come(self) -> None:
        self._is_intact = False
        self._world.let_turns_come()

    @rule()
    def leases_end(self) -> None:
        self._is_intact = False
        self._world.let_leases_end()

    @rule()
    def a_while_passes(self) -> None:
        """So long that everyone is late, and no lease lasts."""
        self._is_intact = False
        self._world.pass_time(A_WHILE_SECONDS)

    # The model.

    def _age_of(self, outcome: Outcome) -> int:
        return list(self._slots).index(outcome.target.integration_id)

    def _withdraw(self, identifier: UUID) -> None:
        """A change takes back the slot that is open, so that the next check is of the new state."""
        if self._slots[identifier].open and not self._world.rows()[identifier].has_lease:
            self._slots[identifier].withdrawn += 1

    def _expect(self, batch: list[Outcome]) -> None:
        """What a batch is to change: a result counts once, with its lease or its request."""
        rows, pending = self._world.rows(), self._world.pending_requests()
        for each in batch:
            target = each.target
            row = rows[target.integration_id]
            if target.version != row.version:
                # Kept as what the former version was found to be.
                self._finished.add(target.check_id)
            elif target.lease_token is None and target.check_id in pending:
                self._finished.add(target.check_id)
            elif self._holds(row, target.lease_token):
                self._finished.add(target.check_id)
                self._slots[target.integration_id].counted += 1

    def _holds(self, row: Row, token: int | None) -> bool:
        is_open = self._slots[row.integration_id].open > 0
        return token is not None and is_open and row.has_lease and row.lease_token == token

    @invariant()
    def promises(self) -> None:
        rows = self._world.rows()
        for identifier, row in rows.items():
            assert self._slots[identifier].open == row.has_lease, "each slot counts once"
            assert row.has_turn == row.is_checked, "what is checked has a turn, nothing else"
        history = Counter(self._world.history())
        assert history == Counter(self._finished), "each finished check is in the history, once"
        events = self._world.events()
        assert len({each["id"] for each in events}) == len(events)
        statuses, incidents, changes = _followed(events, self._first_status)
        for identifier, row in rows.items():
            if identifier in self._checked:
                assert statuses[identifier] == row.status, "each change is announced"
            assert (identifier in incidents) == row.has_incident, "each outage has its alert"
            is_out = row.status == "unhealthy" and identifier in self._checked
            assert row.has_incident == is_out
        assert Counter(self._world.transitions()) == Counter(changes)
        self._is_heard_in_order(events)
        self._is_intact = True

    def _is_heard_in_order(self, events: list[dict[str, Any]]) -> None:
        committed: dict[str, list[str]] = {}
        heard: dict[str, list[str]] = {}
        for each in events:
            committed.setdefault(each["subject"], []).append(each["id"])
        for each in self._world.heard():
            heard.setdefault(each["subject"], []).append(each["id"])
        for subject, identifiers in heard.items():
            assert committed[subject][: len(identifiers)] == identifiers, "in order"

    def teardown(self) -> None:
        if self._is_intact:
            self._comes_to_rest()

    def _comes_to_rest(self) -> None:
        """Nobody fails any more: whatever was open comes to its end."""
        for rounds in range(MOST_ROUNDS):
            if rounds >= LEAST_ROUNDS and self._is_well():
                break
            # The lease ends; what is late is put off, and due after that.
            self.a_while_passes()
            self.tick(None)
            while self._queue:
                message = self._queue.pop()
                outcomes = self._run(self._world.probe(message, RESULTS["healthy"]))
                self._expect(outcomes)
                if outcomes:
                    self._run(self._world.record(outcomes))
            self._found.clear()
            while self._world.unpublished() and self._run(
                self._world.relay(limit=100, broker_takes=None, dies=False)
            ):
                pass
            self.promises()
        assert not self._world.unpublished()
        assert len(self._world.heard()) == len(self._world.events()), "nothing is lost"
        assert all(
            each.counted or each.withdrawn or not each.given for each in self._slots.values()
        )
        assert self._is_well()

    def _is_well(self) -> bool:
        rows = self._world.rows()
        return {rows[identifier].status for identifier in self._checked} <= {"healthy", "disabled"}


def _followed(
    events: list[dict[str, Any]], first: dict[UUID, str]
) -> tuple[dict[UUID, str], dict[UUID, str], list[tuple[UUID, str, str]]]:
    """By what was announced: each status, each open incident, each change of a status."""
    statuses = dict(first)
    incidents: dict[UUID, str] = {}
    changes: list[tuple[UUID, str, str]] = []
    seen: set[str] = set()
    for event in events:
        identifier, data = UUID(event["subject"]), event["data"]
        if event["type"] == CHANGED:
            assert statuses[identifier] == data["previousStatus"], "changes follow each other"
            assert data["status"] != data["previousStatus"]
            changes.append((identifier, statuses[identifier], data["status"]))
            statuses[identifier] = data["status"]
        elif event["type"] == UPDATED and "enabled" in data["changed"]:
            status = "unknown" if statuses[identifier] == "disabled" else "disabled"
            changes.append((identifier, statuses[identifier], status))
            statuses[identifier] = status
        elif event["type"] == OPENED:
            assert identifier not in incidents, "one outage, one opened"
            assert data["incidentId"] not in seen
            seen.add(data["incidentId"])
            incidents[identifier] = data["incidentId"]
        elif event["type"] == RESOLVED:
            assert incidents.pop(identifier) == data["incidentId"], "one opened, one resolved"
    return statuses, incidents, changes


@pytest.fixture
def world(database_url: str) -> Iterator[tuple[World, asyncio.Runner]]:
    with asyncio.Runner() as runner:
        database = Database(open_engine(database_url, pool_size=2, application="tests"))
        world = World(database, database_url)
        runner.run(world.prepare())
        yield world, runner
        world.close()
        runner.run(database.close())


@pytest.mark.timeout(3600)
def test_whatever_happens_the_promises_hold(world: tuple[World, asyncio.Runner]) -> None:
    is_nightly = hypothesis.settings.get_current_profile_name() == "nightly"

    class OnThisWorld(Catalog):
        def __init__(self) -> None:
            super().__init__(*world)

    run_state_machine_as_test(
        OnThisWorld,
        settings=settings(
            max_examples=1000 if is_nightly else 60,
            stateful_step_count=60 if is_nightly else 30,
            # The same every time, unless there is a night to look further.
            derandomize=not is_nightly,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
