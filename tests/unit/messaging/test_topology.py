"""Topic patterns, and the table's own consistency."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_runtime.messaging.settlement import MAX_ATTEMPTS
from stella_runtime.messaging.topology import (
    COMMANDS,
    DISCOVER,
    EVENTS,
    ON_DEMAND,
    SCHEDULE,
    TOPOLOGY,
    UNROUTED,
    Queue,
    matches,
)

WORDS = st.sampled_from(["a", "b", "ab", "", "*", "#"])
KEYS = st.lists(st.sampled_from(["a", "b", "ab", ""]), max_size=6).map(".".join)
PATTERNS = st.lists(WORDS, max_size=5).map(".".join)


def words(text: str) -> list[str]:
    return text.split(".") if text else []


def oracle(pattern: list[str], key: list[str]) -> bool:
    """The definition, word by word, without a thought for its cost."""
    if not pattern:
        return not key
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(oracle(rest, key[taken:]) for taken in range(len(key) + 1))
    return bool(key) and first in ("*", key[0]) and oracle(rest, key[1:])


@given(PATTERNS, KEYS)
def test_matching_agrees_with_its_definition(pattern: str, key: str) -> None:
    assert matches(pattern, key) == oracle(words(pattern), words(key))


@given(KEYS)
def test_a_key_matches_itself_and_everything(key: str) -> None:
    assert matches(key, key)
    assert matches("#", key)


@pytest.mark.timeout(5)
def test_a_pattern_of_many_hashes_costs_little() -> None:
    assert not matches(".".join(["#", "a"] * 60), ".".join(["a"] * 59 + ["b"] * 60))


@pytest.mark.parametrize("name", [SCHEDULE, ON_DEMAND, DISCOVER])
def test_a_work_queue_has_a_way_back_and_an_end(name: str) -> None:
    queue = TOPOLOGY.queue(name)

    assert queue.then == queue.dead == f"{name}.dead"
    dead = TOPOLOGY.queue(f"{name}.dead")
    # Refusing a dead letter sends it back to work; looking at one never ends it.
    assert (dead.then, dead.delivery_limit) == (name, 1_000_000)


@pytest.mark.parametrize("name", [SCHEDULE, ON_DEMAND, DISCOVER])
def test_each_attempt_waits_longer_than_the_one_before(name: str) -> None:
    queue = TOPOLOGY.queue(name)

    waiting = [queue.retry_after(attempt) for attempt in range(1, MAX_ATTEMPTS)]
    rules = [TOPOLOGY.queue(each) for each in waiting if each is not None]

    seconds = [rule.hold.total_seconds() for rule in rules if rule.hold is not None]
    assert seconds == [1, 5, 15, 30, 60]
    assert {rule.then for rule in rules} == {name}


@pytest.mark.parametrize("queue", TOPOLOGY.queues, ids=lambda queue: queue.name)
def test_every_queue_has_a_bound(queue: Queue) -> None:
    assert queue.max_length > 0
    # At-least-once dead-lettering works with queues that refuse, not with those that drop.
    assert queue.then is None or queue.when_full == "refuse"


def test_what_the_table_names_exists() -> None:
    exchanges = {exchange.name for exchange in TOPOLOGY.exchanges}
    queues = {queue.name for queue in TOPOLOGY.queues}

    assert {binding.exchange for binding in TOPOLOGY.bindings} <= exchanges
    assert {binding.queue for binding in TOPOLOGY.bindings} <= queues
    assert {queue.then for queue in TOPOLOGY.queues if queue.then} <= queues
    assert TOPOLOGY.exchange(EVENTS).alternate == UNROUTED
    assert TOPOLOGY.exchange(COMMANDS).alternate is None


def test_names_fit_the_documented_pattern() -> None:
    names = [queue.name for queue in TOPOLOGY.queues]

    assert all(re.fullmatch(r"[a-z]+(\.[a-z0-9]+)+", name) for name in names)
