"""A stream as a response: it ends with its client, and bounds how long one may take nothing."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stella_api.events.stream import TOO_SLOW, EventStream

MEDIA_TYPE = "text/event-stream"
LAST_WORD_SECONDS = 5.0
"""How long a client that took nothing has to take the reason, before it is left."""

_HEADERS = {
    "Cache-Control": "no-store",
    # Proxies that gather answers would hold events back.
    "X-Accel-Buffering": "no",
}


class EventStreamResponse(Response):
    """
    Opens the stream when it is sent, so that what keeps it from opening is answered as a problem.

    Nothing is gathered for a slow client: the next frame is made when the last one has gone into
    its connection, and what it has not been sent lies in the database.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        open_stream: Callable[[], AbstractAsyncContextManager[EventStream]],
        *,
        stall_seconds: float,
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._open_stream = open_stream
        self._stall_seconds = stall_seconds

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002 - as ASGI calls it
        receive: Receive,
        send: Send,
    ) -> None:
        async with self._open_stream() as stream:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            sending = asyncio.create_task(self._send(stream, send))
            leaving = asyncio.create_task(_until_gone(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
            finally:
                for task in (sending, leaving):
                    task.cancel()
                await asyncio.wait({sending, leaving})

    async def _send(self, stream: EventStream, send: Send) -> None:
        async with aclosing(stream.frames()) as frames:
            async for frame in frames:
                try:
                    async with asyncio.timeout(self._stall_seconds):
                        await send(_body(frame))
                except TimeoutError:
                    # The frame was not written, so that the client's last id is still right.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LAST_WORD_SECONDS):
                            await send(_body(stream.end_frame(TOO_SLOW)))
                            await send(_body(b"", more=False))
                    return
            await send(_body(b"", more=False))


def _body(content: bytes, *, more: bool = True) -> dict[str, object]:
    return {"type": "http.response.body", "body": content, "more_body": more}


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
