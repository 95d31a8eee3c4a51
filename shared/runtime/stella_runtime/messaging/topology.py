"""
Every exchange, queue, retry and dead-letter rule.

The one table, which every process declares and both adapters follow. To change the arguments
of a queue that exists, give it a new name: a broker refuses to alter one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from stella_contracts.errors import Rejected
from stella_runtime.messaging.bus import Message

EVENTS = "stella.integrations.events"
COMMANDS = "stella.integrations.commands"
REPLIES = "stella.integrations.replies"
UNROUTED = "stella.unrouted"

SCHEDULE = "health.schedule"
SLOW = "health.slow"
ON_DEMAND = "health.ondemand"
DISCOVER = "plugins.discover"

RETRY_DELAYS = tuple(timedelta(seconds=seconds) for seconds in (1, 5, 15, 30, 60))
"""
Before the second attempt, the third, and so on. A queue for each, since a queue lets out what
came first, however short a later message's delay is.
"""
DELIVERY_LIMIT = 20
"""
How often a delivery may come back because its consumer died. High, since everything that a
consumer had taken is counted when it dies: a crash-looping neighbour is no reason to give up.
"""
NEVER_GIVE_UP = 1_000_000
"""For what is only looked at: newer brokers have a limit of their own, and drop what is over it."""

_LONGEST_ROUTING_KEY = 255  # bytes; AMQP 0-9-1, a short string


class MessageRefused(Rejected):
    """The message can never be published as it is."""

    code = "message_refused"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Where messages are published."""

    name: str
    kind: Literal["topic", "direct", "fanout"]
    must_arrive: bool = True
    """Whether a message that no queue takes is an error, and whether messages outlive a restart."""
    alternate: str | None = None
    """The exchange for what no queue takes. With one, publishing always finds a taker."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Where messages wait."""

    name: str
    max_length: int
    when_full: Literal["refuse", "drop_oldest"] = "refuse"
    hold: timedelta | None = None
    """How long a message stays before it moves on to `then`."""
    then: str | None = None
    """The queue for what has been held, was delivered too often, or was refused."""
    delivery_limit: int | None = None
    retry: tuple[str, ...] = ()
    """The queues for what its handler could not do yet, by the attempt that failed."""
    dead: str | None = None
    """The queue for what its handler cannot do."""

    def retry_after(self, attempt: int) -> str | None:
        """The queue in which to wait after a failure, the first attempt being 1."""
        return self.retry[min(attempt, len(self.retry)) - 1] if self.retry else None


@dataclass(frozen=True, slots=True)
class Binding:
    """What a queue takes from an exchange."""

    exchange: str
    queue: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Topology:
    """The table itself."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]

    def exchange(self, name: str) -> Exchange:
        """Raises MessageRefused when there is none of that name."""
        for exchange in self.exchanges:
            if exchange.name == name:
                return exchange
        raise MessageRefused(f"There is no exchange {name!r}.")

    def queue(self, name: str) -> Queue:
        """Raises LookupError when there is none of that name."""
        for queue in self.queues:
            if queue.name == name:
                return queue
        raise LookupError(f"There is no queue {name!r} in the topology.")

    def destination(self, message: Message) -> Exchange:
        """Where the message goes. Raises MessageRefused when it can go nowhere at all."""
        if len(message.routing_key.encode()) > _LONGEST_ROUTING_KEY:
            raise MessageRefused(f"A routing key has at most {_LONGEST_ROUTING_KEY} bytes.")
        return self.exchange(message.exchange)


def work_queue(name: str, *, max_length: int) -> Iterator[Queue]:
    """A queue of commands, with those that take what could not be done."""
    dead = f"{name}.dead"
    retries = {f"{name}.retry.{delay.seconds}s": delay for delay in RETRY_DELAYS}
    yield Queue(
        name,
        max_length=max_length,
        then=dead,
        delivery_limit=DELIVERY_LIMIT,
        retry=tuple(retries),
        dead=dead,
    )
    for retry, delay in retries.items():
        yield Queue(retry, max_length=max_length, hold=delay, then=name)
    # Refusing a dead letter sends it back to work.
    yield Queue(dead, max_length=10_000, then=name, delivery_limit=NEVER_GIVE_UP)


TOPOLOGY = Topology(
    exchanges=(
        Exchange(UNROUTED, "fanout"),
        Exchange(EVENTS, "topic", alternate=UNROUTED),
        Exchange(COMMANDS, "direct"),
        # "A check that someone waits for has finished": worth nothing to anyone else or later.
        Exchange(REPLIES, "topic", must_arrive=False),
    ),
    queues=(
        Queue(
            UNROUTED,
            max_length=10_000,
            when_full="drop_oldest",
            delivery_limit=NEVER_GIVE_UP,
        ),
        *work_queue(SCHEDULE, max_length=100_000),
        *work_queue(SLOW, max_length=100_000),
        *work_queue(ON_DEMAND, max_length=100_000),
        *work_queue(DISCOVER, max_length=1_000),
    ),
    bindings=(
        Binding(UNROUTED, UNROUTED, ""),
        Binding(COMMANDS, SCHEDULE, SCHEDULE),
        Binding(COMMANDS, SLOW, SLOW),
        Binding(COMMANDS, ON_DEMAND, ON_DEMAND),
        Binding(COMMANDS, DISCOVER, DISCOVER),
    ),
)


def matches(pattern: str, routing_key: str) -> bool:
    """
    Whether a topic pattern takes a routing key.

    AMQP 0-9-1, section 3.1.3.3: words are parted by dots, `*` is one word, `#` none or more.
    """
    # The positions in the pattern that may be reached: linear in the key, also for `#.#.#`.
    words = pattern.split(".") if pattern else []
    reached = _past_hashes({0}, words)
    for word in routing_key.split(".") if routing_key else []:
        after = {at + 1 for at in reached if at < len(words) and words[at] in ("*", word)}
        after |= {at for at in reached if at < len(words) and words[at] == "#"}
        reached = _past_hashes(after, words)
    return len(words) in reached


def _past_hashes(reached: set[int], words: list[str]) -> set[int]:
    """`#` may stand for no word at all."""
    more = set(reached)
    for at in reached:
        while at < len(words) and words[at] == "#":
            at += 1
            more.add(at)
    return more
