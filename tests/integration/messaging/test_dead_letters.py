"""`stella bus dead`: what could not be handled is seen, sent back once, or thrown away."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aio_pika
import psycopg
import pytest
from tests.integration.messaging.doubles import QUICK, Seen, a_command, ending_with
from tests.integration.messaging.test_rabbitmq import die_with_deliveries
from tests.support.rabbitmq import Server
from typer.testing import CliRunner, Result

from stella_contracts.errors import NameTaken, SecretUnavailable
from stella_operator.bus import bus as commands
from stella_runtime.messaging.bus import Bus, Message
from stella_runtime.messaging.connection import TopologyConflict
from stella_runtime.messaging.dead_letters import DeadLetter, open_dead_letters
from stella_runtime.messaging.rabbitmq import open_bus
from stella_runtime.messaging.settlement import MAX_ATTEMPTS
from stella_runtime.messaging.topology import (
    DELIVERY_LIMIT,
    DISCOVER,
    EVENTS,
    ON_DEMAND,
    TOPOLOGY,
    UNROUTED,
)

DEAD = f"{ON_DEMAND}.dead"

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def stella(amqp_url: str, database_url: str) -> Run:
    """Runs `stella bus dead …`; what it raises is in the result."""

    async def run(*arguments: str, **settings: Any) -> Result:
        addresses = {"STELLA_AMQP_URL": amqp_url, "STELLA_DATABASE_URL": database_url}
        return await asyncio.to_thread(
            CliRunner().invoke, commands, ["dead", *arguments], env=addresses, **settings
        )

    return run


async def count_of(bus: Bus, queue: str) -> int:
    return (await bus.measure())[queue].messages


async def until_count(bus: Bus, queue: str, count: int) -> None:
    async with asyncio.timeout(20):
        while await count_of(bus, queue) != count:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.05)


async def bury(bus: Bus, *ids: str, queue: str = ON_DEMAND) -> None:
    """Let these die of a handler that cannot do them."""
    refusing = Seen(iter(lambda: NameTaken("registry"), None))
    for message_id in ids:
        await bus.publish(a_command(message_id, queue=queue))
    async with bus.consume(queue, refusing, prefetch=1):
        await until_count(bus, f"{queue}.dead", len(ids))


@pytest.fixture
async def bus(amqp_url: str) -> Any:
    async with open_bus(amqp_url, name="test", topology=TOPOLOGY) as opened:
        yield opened


def listed(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


async def test_dead_letters_are_listed_with_their_reason_and_stay(bus: Bus, stella: Run) -> None:
    await bury(bus, "first", "second")

    # More often than a broker of a newer release delivers a message that has no limit.
    for _ in range(22):
        found = listed(await stella("list", "--output", "json"))

    assert [each["messageId"] for each in found] == ["first", "second"]
    assert found[0] | {"since": ""} == {
        "queue": DEAD,
        "messageId": "first",
        "source": ON_DEMAND,
        "routingKey": DEAD,
        "reason": "NameTaken: An integration named 'registry' already exists.",
        "attempts": 1,
        "since": "",
        "bytes": 2,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found[0]["since"])


async def test_the_table_shows_one_line_a_message(bus: Bus, stella: Run) -> None:
    await bury(bus, "first")

    [head, line] = (await stella("list", "--queue", ON_DEMAND)).stdout.splitlines()

    assert head.split() == ["QUEUE", "MESSAGE", "REASON", "ATTEMPTS", "SINCE"]
    assert re.fullmatch(rf"{DEAD}\s+first\s+NameTaken: An .* exists\.\s+1\s+\d.*Z\s*", line)


async def test_what_killed_its_consumers_is_listed_as_that_and_may_begin_anew(
    bus: Bus, amqp_url: str, stella: Run
) -> None:
    seen = Seen()
    await bus.publish(a_command("killer"))
    for _ in range(DELIVERY_LIMIT + 1):
        await die_with_deliveries(amqp_url, 1)
    await until_count(bus, DEAD, 1)

    [letter] = listed(await stella("list", "-o", "json"))
    await stella("replay")
    async with bus.consume(ON_DEMAND, seen, prefetch=1):
        await seen.until(1)

    assert (letter["reason"], letter["source"], letter["attempts"]) == (
        "delivery_limit",
        ON_DEMAND,
        None,
    )
    assert letter["since"] is not None
    assert (seen.ids, seen.attempts) == (["killer"], [1])


async def test_a_mended_handler_gets_each_message_once_however_often_it_is_replayed(
    bus: Bus, stella: Run, database_url: str
) -> None:
    await bury(bus, "a", "b", "c")
    mended = Seen()

    first = await stella("replay", "--queue", ON_DEMAND)
    second = await stella("replay", "--queue", ON_DEMAND)
    async with bus.consume(ON_DEMAND, mended, prefetch=1):
        await mended.until(3)
        await until_count(bus, ON_DEMAND, 0)

    assert (first.stdout, second.stdout) == ("3 replayed.\n", "0 replayed.\n")
    assert (mended.ids, mended.attempts) == (["a", "b", "c"], [1, 1, 1])
    assert audited(database_url) == [("dead_letter.replayed", each) for each in "abc"]


def audited(database_url: str) -> list[tuple[str, str]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "select action, details->>'messageId' from audit_logs"
            " where tenant_id = '_system' and actor like 'operator:%' order by id"
        ).fetchall()


async def test_a_replay_forgets_the_attempts(amqp_url: str) -> None:
    seen = ending_with(*[SecretUnavailable("vault away")] * MAX_ATTEMPTS)

    async def told_nobody(_: Sequence[DeadLetter]) -> None:
        pass

    async with (
        open_bus(amqp_url, name="test", topology=QUICK) as bus,
        open_dead_letters(amqp_url, topology=QUICK) as letters,
    ):
        async with bus.consume(ON_DEMAND, seen, prefetch=1):
            await bus.publish(a_command("patient"))
            await until_count(bus, DEAD, 1)
        [letter] = await letters.look(DEAD, limit=10)
        await letters.replay(DEAD, told_nobody, message_id="patient")
        async with bus.consume(ON_DEMAND, seen, prefetch=1):
            await seen.until(MAX_ATTEMPTS + 1)

    assert letter.attempts == MAX_ATTEMPTS
    assert seen.attempts[-1] == 1


async def test_a_replay_that_is_killed_and_run_again_moves_each_message_once(
    bus: Bus, stella: Run, amqp_url: str
) -> None:
    ids = [str(number) for number in range(400)]
    await bury(bus, *ids)
    command = [sys.executable, "-m", "stella_cli", "bus", "dead", "replay"]
    seen = Seen()

    killed = await asyncio.create_subprocess_exec(
        *command, "--amqp-url", amqp_url, stderr=asyncio.subprocess.PIPE
    )
    assert killed.stderr is not None
    async with asyncio.timeout(30):
        await killed.stderr.readline()
    killed.send_signal(signal.SIGKILL)
    await killed.communicate()
    # What it held comes back once the broker has seen that it is gone.
    async with asyncio.timeout(30):
        while (left := await count_of(bus, DEAD)) + await count_of(bus, ON_DEMAND) < len(ids):  # noqa: ASYNC110 - the broker counts
            await asyncio.sleep(0.05)
    again = await stella("replay")
    async with bus.consume(ON_DEMAND, seen, prefetch=50):
        await seen.until(400)
        await until_count(bus, ON_DEMAND, 0)

    assert killed.returncode == -signal.SIGKILL
    assert 0 < left <= 400
    assert again.exit_code == 0
    assert sorted(seen.ids, key=int) == ids


async def test_what_dies_again_at_once_is_replayed_once(bus: Bus, stella: Run) -> None:
    await bury(bus, "hopeless")
    refusing = Seen(iter(lambda: NameTaken("registry"), None))

    async with bus.consume(ON_DEMAND, refusing, prefetch=1):
        result = await stella("replay")
        await refusing.until(1)
        await until_count(bus, DEAD, 1)

    # Our log is in the output, too.
    assert result.stdout.endswith("1 replayed.\n")
    assert refusing.ids == ["hopeless"]


async def test_only_the_message_named_is_dropped_and_only_after_asking(
    bus: Bus, stella: Run, database_url: str
) -> None:
    await bury(bus, "bad", "good")
    await bury(bus, "bad", queue=DISCOVER)

    refused = await stella("drop", "--id", "bad", "--queue", ON_DEMAND, input="n\n")
    kept = listed(await stella("list", "-o", "json"))
    done = await stella("drop", "--id", "bad", "--queue", ON_DEMAND, "--yes")
    left = listed(await stella("list", "-o", "json"))

    assert (refused.exit_code, len(kept)) == (1, 3)
    assert done.stdout == "1 dropped.\n"
    assert [(each["source"], each["messageId"]) for each in left] == [
        (ON_DEMAND, "good"),
        (DISCOVER, "bad"),
    ]
    assert audited(database_url) == [("dead_letter.dropped", "bad")]


async def test_what_nobody_wanted_is_published_again_when_somebody_does(
    bus: Bus, stella: Run
) -> None:
    key = "integration.created.harbor.acme"
    await bus.publish(Message("lonely", EVENTS, key, b"{}"))
    [letter] = listed(await stella("list", "-o", "json"))

    async with bus.subscribe(EVENTS, ["#"]) as events:
        result = await stella("replay", "--queue", UNROUTED)
        async with asyncio.timeout(20):
            event = await anext(events)

    assert (letter["source"], letter["reason"], letter["attempts"]) == (
        EVENTS,
        f"no queue was bound for '{key}'",
        None,
    )
    assert result.stdout == "1 replayed.\n"
    assert (event.id, event.routing_key) == ("lonely", key)


async def test_a_queue_of_an_older_version_is_not_touched(
    amqp_url: str, rabbitmq_server: Server, virtual_host: str, stella: Run
) -> None:
    """Its dead letters would be lost instead of moved: it does not dead-letter to a work queue."""
    rabbitmq_server.management.declare_queue(
        virtual_host, DEAD, {"x-queue-type": "quorum", "x-max-length": 10_000}
    )
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(b"{}", message_id="old"), DEAD)

        result = await stella("replay")
        queue = await channel.get_queue(DEAD)
        kept = await queue.get()

    assert isinstance(result.exception, TopologyConflict)
    assert kept is not None
    assert kept.message_id == "old"


async def test_a_queue_that_keeps_no_dead_letters_is_refused(bus: Bus, stella: Run) -> None:
    result = await stella("list", "--queue", "health.typo")

    refusal = str(result.exception)
    assert refusal.startswith("No dead letters are kept for 'health.typo'. There are: ")
    assert f"{DEAD}, " in refusal
    assert UNROUTED in refusal
