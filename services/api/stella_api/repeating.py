"""Runs a request again whose transaction the database rolled back in favour of another."""

import asyncio
import random

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger()

ATTEMPTS = 4
LONGEST_PAUSE_SECONDS = 0.05

ROLLED_BACK = "rolled_back"
"""The key of the request's state by which `problems` says that nothing was done."""


class Repeating:
    """
    Answers a deadlock or a serialization failure by another attempt, and at last with 503.

    Safe for every method: what was rolled back has left nothing, and nothing was answered yet.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        for attempt in range(1, ATTEMPTS + 1):
            if await self._answered(scope, body, send, is_last=attempt == ATTEMPTS):
                return
            log.info("request_repeated", attempt=attempt)
            # Apart from each other, or the same two would meet again.
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))  # noqa: S311 - a pause

    async def _answered(self, scope: Scope, body: "_Body", send: Send, *, is_last: bool) -> bool:
        state = scope["state"]
        state[ROLLED_BACK] = False

        async def send_unless_rolled_back(message: Message) -> None:
            if is_last or not state[ROLLED_BACK]:
                await send(message)

        await self._app(scope, body.from_the_start(), send_unless_rolled_back)
        return is_last or not state[ROLLED_BACK]


class _Body:
    """What came of the request, for another attempt."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._came: list[Message] = []

    def from_the_start(self) -> Receive:
        position = 0

        async def receive() -> Message:
            nonlocal position
            if position == len(self._came):
                message = await self._receive()
                if message["type"] != "http.request":
                    return message
                self._came.append(message)
            position += 1
            return self._came[position - 1]

        return receive
