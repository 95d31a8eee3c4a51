"""Runs handlers: a bounded number at once, and to their end when it is time to stop."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from pydantic import ValidationError

from stella_contracts.errors import StellaError
from stella_runtime.messaging.bus import Delivery, Handler
from stella_runtime.messaging.settlement import Fate, Settlement, settle
from stella_runtime.telemetry import tracing

log = structlog.get_logger()

CANCEL_SECONDS = 10.0
"""How long a cancelled handler may tidy up, and its delivery be settled, before it is left."""

Settle = Callable[[Settlement], Awaitable[None]]
"""How the adapter carries a settlement out."""


class HandlerPool:
    """The handlers of one queue. The bound also holds across reconnections."""

    def __init__(self, queue: str, handler: Handler, *, at_once: int, system: str) -> None:
        self._queue = queue
        self._system = system
        self._handler = handler
        self._slots = asyncio.Semaphore(at_once)
        self._handlers: set[asyncio.Task[None]] = set()
        self._running: set[asyncio.Task[None]] = set()

    async def slot(self) -> None:
        """Wait until a handler may be started. The next `start` takes the slot."""
        await self._slots.acquire()

    def give_back_slot(self) -> None:
        """There was nothing to start after all."""
        self._slots.release()

    def start(self, delivery: Delivery, carry_out: Settle) -> None:
        """Handle the delivery in the slot that was waited for."""
        task = asyncio.create_task(self._run(delivery, carry_out))
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def drain(self, seconds: float) -> None:
        """Wait for the handlers that run; after `seconds`, cancel those that are left."""
        if not await self._all_ended(seconds):
            log.warning("handlers_cancelled", queue=self._queue, running=len(self._handlers))
            for handler in self._handlers:
                handler.cancel()
            if not await self._all_ended(CANCEL_SECONDS):
                log.error("handlers_abandoned", queue=self._queue, running=len(self._running))
                for task in self._running:
                    task.cancel()

    async def _all_ended(self, seconds: float) -> bool:
        if not self._running:
            return True
        _, running = await asyncio.wait(self._running, timeout=seconds)
        return not running

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            # The delivery is not settled, so it will be delivered again.
            log.error("delivery_settlement_failed", queue=self._queue, exc_info=error)

    async def _run(self, delivery: Delivery, carry_out: Settle) -> None:
        # A task of its own: that it was cancelled then says nothing about us.
        handler = asyncio.create_task(self._handle(delivery))
        self._handlers.add(handler)
        try:
            await asyncio.wait({handler})
        except asyncio.CancelledError:
            handler.cancel()
            raise
        finally:
            self._handlers.discard(handler)
        error = None if handler.cancelled() else handler.exception()
        settlement = settle(delivery.attempt, error, cancelled=handler.cancelled())
        with tracing.resumed(delivery.headers):
            self._report(delivery, settlement, error)
            await carry_out(settlement)

    async def _handle(self, delivery: Delivery) -> None:
        with (
            structlog.contextvars.bound_contextvars(queue=self._queue, message_id=delivery.id),
            tracing.receiving(
                delivery.headers,
                messaging_system=self._system,
                destination=self._queue,
                message_id=delivery.id,
                operation="process",
                attempt=delivery.attempt,
            ),
        ):
            await self._handler(delivery)

    def _report(
        self, delivery: Delivery, settlement: Settlement, error: BaseException | None
    ) -> None:
        if settlement.fate is Fate.DONE:
            return
        bound = log.bind(
            queue=self._queue,
            message_id=delivery.id,
            attempt=delivery.attempt,
            reason=settlement.reason,
        )
        if settlement.fate is Fate.RETRY:
            bound.warning("message_retried")
        elif settlement.fate is Fate.HAND_BACK:
            bound.info("message_handed_back")
        else:
            # Errors that explain themselves need no traceback; and a validation error's quotes
            # the input.
            explained = isinstance(error, StellaError | ValidationError)
            bound.error("message_dead_lettered", exc_info=None if explained else error)
