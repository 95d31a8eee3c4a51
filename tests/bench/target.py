"""The external tool of the benchmarks: answers a Harbor health report as fast as Python can."""

import asyncio
import sys
from typing import cast

import uvloop

BODY = (
    b'{"status":"healthy","components":['
    b'{"name":"core","status":"healthy"},{"name":"database","status":"healthy"},'
    b'{"name":"redis","status":"healthy"},{"name":"registry","status":"healthy"}]}'
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    + str(len(BODY)).encode()
    + b"\r\n\r\n"
    + BODY
)

ADDRESSES = [f"127.0.0.{number}" for number in range(2, 52)]
"""All of them are this one process: to a worker they are hosts of their own."""


class Target(asyncio.Protocol):
    """One kept-alive connection. A request without a body ends with an empty line."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        requests = self._received.count(b"\r\n\r\n")
        if requests:
            self._received = self._received.rpartition(b"\r\n\r\n")[2]
            self._transport.write(ANSWER * requests)


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Target, ["127.0.0.1", *ADDRESSES], port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
