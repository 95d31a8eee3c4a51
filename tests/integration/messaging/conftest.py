"""Each adapter of the bus, opened in the same way."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import pytest
from tests.integration.messaging.doubles import QUICK

from stella_runtime.messaging import in_process, rabbitmq
from stella_runtime.messaging.bus import Bus
from stella_runtime.messaging.topology import Topology


class OpenBus(Protocol):
    def __call__(
        self, *, topology: Topology = QUICK, drain_seconds: float = 10.0
    ) -> AbstractAsyncContextManager[Bus]: ...


@pytest.fixture(params=["in_process", "rabbitmq"])
def open_bus(request: pytest.FixtureRequest) -> OpenBus:
    """Opens a bus of the adapter that the test runs with."""
    if request.param == "in_process":

        def open_in_process(
            *, topology: Topology = QUICK, drain_seconds: float = 10.0
        ) -> AbstractAsyncContextManager[Bus]:
            return in_process.InProcessBus(topology=topology, drain_seconds=drain_seconds)

        return open_in_process

    url: str = request.getfixturevalue("amqp_url")

    def open_rabbitmq(
        *, topology: Topology = QUICK, drain_seconds: float = 10.0
    ) -> AbstractAsyncContextManager[Bus]:
        return rabbitmq.open_bus(url, name="test", topology=topology, drain_seconds=drain_seconds)

    return open_rabbitmq


@pytest.fixture
async def bus(open_bus: OpenBus) -> AsyncIterator[Bus]:
    async with open_bus() as opened:
        yield opened
