"""How the library's errors come out of the messaging package."""

import asyncio

import aio_pika.exceptions
import pytest
from pamqp.commands import Basic

from stella_contracts.errors import BusUnavailable
from stella_runtime.messaging.connection import broker_errors


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(aio_pika.exceptions.AMQPConnectionError("reset"), id="connection lost"),
        pytest.param(aio_pika.exceptions.ChannelInvalidStateError("closed"), id="channel lost"),
        pytest.param(aio_pika.exceptions.DeliveryError(None, Basic.Nack(1)), id="not taken"),
        pytest.param(aio_pika.exceptions.ProbableAuthenticationError("no"), id="not let in"),
        pytest.param(ConnectionResetError(), id="the system's error"),
        pytest.param(TimeoutError(), id="too slow"),
        pytest.param(asyncio.CancelledError(), id="cancelled by the library"),
    ],
)
async def test_what_the_library_raises_is_unavailable(error: BaseException) -> None:
    with pytest.raises(BusUnavailable), broker_errors():
        raise error


async def test_being_cancelled_ourselves_stays_what_it_is() -> None:
    async def wait() -> None:
        with broker_errors():
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
