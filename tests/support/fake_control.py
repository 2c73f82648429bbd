"""The internal endpoints of control that a gateway talks to, over a raw socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from support.gateway import TOKEN
from tetrad.limits import Sync
from tetrad.limits._keeper import LeaseKeeper
from tetrad.traces import Span, read_frames


@dataclass
class FakeControl:
    """Streams sealed tables and stores spans, in a thread of its own. `fail_with` makes ingest answer that status."""

    port: int = 0
    spans: list[Span] = field(default_factory=list)
    chunks: list[tuple[str, str, int, int]] = field(default_factory=list)
    """(worker, segment, offset, bytes) of every accepted chunk."""
    fail_with: int = 0
    refused: int = 0
    streams: int = 0
    health: dict[str, bytes] = field(default_factory=dict)
    """The newest report of every gateway worker."""
    sightings: list[dict[str, Any]] = field(default_factory=list)
    """Definitions of tools that gateways told of."""
    keeper: LeaseKeeper | None = None
    """Grants leases of limits, where there are limits."""
    take: Callable[[list[Span]], None] | None = None
    """Takes spans as they come, instead of their being kept."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many connections gateways have to it."""
        return len(self._tasks)

    def publish(self, sealed: bytes) -> None:
        """Send a table to every gateway that follows, and to those that come."""
        self._loop.call_soon_threadsafe(self._publish, sealed)

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._table = b""
        self._kept: dict[str, int] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(ready),), daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the fake control did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _publish(self, sealed: bytes) -> None:
        self._table = sealed
        for writer in self._writers:
            writer.write(_frame(sealed))

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    await self._one(reader, writer)
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        target = lines[0].split(" ")[1]
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("authorization") != f"Bearer {TOKEN}":
            writer.write(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
        elif target == "/internal/v1/route-table/stream":
            await self._stream(reader, writer)
        else:
            status, answer = self._take(target, body)
            writer.write(b"HTTP/1.1 %d Said\r\ncontent-length: %d\r\n\r\n%s" % (status, len(answer), answer))
        await writer.drain()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams += 1
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(_chunk(b"\0\0\0\0"))
        if self._table:
            writer.write(_frame(self._table))
        self._writers.add(writer)
        await reader.read()
        raise ConnectionResetError

    def _take(self, target: str, body: bytes) -> tuple[int, bytes]:
        if self.fail_with:
            self.refused += 1
            return self.fail_with, b""
        path, _, query = target.partition("?")
        if path.startswith("/internal/v1/gateways/"):
            self.health[path.split("/")[4]] = body
            return 204, b""
        if path == "/internal/v1/tool-sightings":
            self.sightings += json.loads(body)
            return 204, b""
        if self.keeper is not None and path == "/internal/v1/limits/leases":
            return 200, msgspec.json.encode(self.keeper.sync(msgspec.json.decode(body, type=Sync)))
        asked = dict(part.split("=") for part in query.split("&"))
        _, _, _, _, worker, segment = path.split("/")
        batch = read_frames(body, final=asked.get("final") == "true")
        offset = int(asked["offset"])
        if self.take is None:
            self.spans += batch.spans
        elif (known := self._kept.get(segment, 0)) > offset:
            # sent again, as a worker does that ends before it heard of a receipt: what is there counts once
            self.take(read_frames(body[known - offset :]).spans)
        else:
            self.take(batch.spans)
        self._kept[segment] = max(self._kept.get(segment, 0), offset + batch.consumed)
        self.chunks.append((worker, segment, offset, len(body)))
        return 200, b'{"next_offset": %d}' % (offset + batch.consumed)


def _frame(sealed: bytes) -> bytes:
    data = len(sealed).to_bytes(4, "big") + sealed
    return _chunk(data[:7]) + _chunk(data[7:])


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
