"""A TCP server that says exactly what a test wants, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Runs one act per connection; `acts[i]` for the i-th, the last one for all that follow."""

    def __init__(self, *acts: Act) -> None:
        self._acts = acts
        self.accepted = 0
        self.open = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        act = self._acts[min(self.accepted, len(self._acts) - 1)]
        self.accepted += 1
        self.open += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await act(reader, writer)
        finally:
            self.open -= 1
            writer.close()


@contextlib.asynccontextmanager
async def raw_server(*acts: Act) -> AsyncIterator[RawServer]:
    """Serve acts on a free port."""
    served = RawServer(*acts)
    server = await asyncio.start_server(served, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


async def read_request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Return head and body of a request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = 0
    for line in head.split("\r\n")[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    return head, await reader.readexactly(length)


def answering(*answers: bytes, close: bool = False) -> Act:
    """Answer the i-th request of a connection with `answers[i]`, the last one again and again."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        while True:
            await read_request(reader)
            writer.write(answers[min(count, len(answers) - 1)])
            await writer.drain()
            count += 1
            if close and count >= len(answers):
                return

    return act
