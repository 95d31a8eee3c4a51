"""What a subscriber has not read yet."""

from stella_runtime.messaging.bus import Delivery
from stella_runtime.messaging.subscription import Subscription


async def test_the_oldest_make_room() -> None:
    subscription = Subscription("events", ["#"], capacity=3)

    for number in range(5):
        subscription.put(Delivery(str(number), "a.b", b""))

    assert [(await anext(subscription)).id for _ in range(3)] == ["2", "3", "4"]


def test_a_subscription_takes_from_its_own_exchange_alone() -> None:
    subscription = Subscription("events", ["a.*", "b.#"])

    assert subscription.takes("events", "b.c.d")
    assert not subscription.takes("events", "a.c.d")
    assert not subscription.takes("commands", "a.c")
