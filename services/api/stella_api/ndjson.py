"""Answers of any length: one JSON document a line, a page of them in memory at a time."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from pydantic import BaseModel
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "application/x-ndjson"
STALL_SECONDS = 30.0
"""How long a client may take nothing before its answer is broken off."""


class Lines(Response):
    """
    Pages of documents, each read when the one before has gone into the connection.

    What is broken off lacks the end of its chunks, so that no client takes it for the whole.
    """

    media_type = MEDIA_TYPE

    def __init__(self, pages: AsyncIterator[Sequence[BaseModel]]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._pages = pages

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002 - as ASGI calls it
        receive: Receive,  # noqa: ARG002
        send: Send,
    ) -> None:
        # Before the first line, so that a database that is away is answered as a problem.
        page: Sequence[BaseModel] | None = await anext(self._pages, None)
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        while page is not None:
            body = b"".join(each.model_dump_json().encode() + b"\n" for each in page)
            async with asyncio.timeout(STALL_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": True})
            page = await anext(self._pages, None)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
