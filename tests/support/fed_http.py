"""The gateway's own HTTP front end in this process, over a transport that keeps what is written, fed byte by byte."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tetrad.kernel import TetradError
from tetrad.processes.gateway._core import GatewayCore
from tetrad.processes.gateway._cors import Cors
from tetrad.processes.gateway._http1 import HttpServer
from tetrad.processes.gateway._http1_connection import HttpConnection
from tetrad.serving import BY_PATH, Exchange, error_body


@dataclass
class Fed:
    """What came of some bytes: the requests that were understood, what was answered, whether the connection ended."""

    asked: list[tuple[str, str, bytes]]
    """Method, path and body, in their order."""
    written: bytes
    closed: bool
    in_flight: int

    @property
    def statuses(self) -> list[int]:
        """The statuses of all answers."""
        return [int(part[:3]) for part in self.written.split(b"HTTP/1.1 ")[1:]]


@dataclass
class Transport:
    """A transport without a network."""

    written: bytearray = field(default_factory=bytearray)
    closed: bool = False

    def write(self, data: bytes) -> None:
        assert not self.closed, f"written after the end: {data!r}"
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def set_write_buffer_limits(self, **_: int) -> None:
        return None

    def pause_reading(self) -> None:
        return None

    resume_reading = pause_reading


class Echo:
    """A pipeline that lets everybody in and answers with nothing; keeps what it was asked."""

    def __init__(self, asked: list[tuple[str, str, bytes]]) -> None:
        self._asked = asked

    def authenticate(self, exchange: Exchange) -> None:
        return None

    async def serve(self, exchange: Exchange, reply: Any) -> None:
        path = next(path for path, operation in BY_PATH.items() if operation is exchange.operation)
        self._asked.append(("POST", path, exchange.body))
        await reply.whole(200, [], b"{}")

    async def refuse(self, exchange: Exchange, error: TetradError, reply: Any) -> None:
        self._asked.append(("POST", "refused", b""))
        await reply.whole(error.status, [], error_body(error))

    def abandon(self, exchange: Exchange, why: str) -> None:
        return None


class Core(GatewayCore):
    """Every page is a 200 and is written down."""

    def __init__(self, asked: list[tuple[str, str, bytes]], max_body: int) -> None:
        super().__init__(
            Echo(asked),  # type: ignore[arg-type]
            SimpleNamespace(in_flight=0),  # type: ignore[arg-type]
            metrics_page=bytes, max_body=max_body, body_timeout_s=1.0, max_in_flight=100,
        )  # fmt: skip
        self._asked = asked

    def _page(self, method: str, path: str, headers: Any) -> Any:
        self._asked.append((method, path, b""))
        return 200, b"text/plain", b"page"


async def feed(
    pieces: list[bytes], *, max_body: int = 100_000, server: HttpServer | None = None, cors: Cors | None = None
) -> Fed:
    """Feed a connection, let it answer after each piece, and end it as a client does that has left.

    A `server` that was used before knows what it has learned; its `core` keeps the requests of all its connections.
    """
    asked: list[tuple[str, str, bytes]] = []
    core = Core(asked, max_body)
    core.cors = cors
    if server is None:
        server = HttpServer(core, header_timeout_s=10, keep_alive_s=10, drain_s=1)
    else:
        server.core = core
    transport = Transport()
    connection = server.connect(asyncio.get_running_loop())
    connection.connection_made(transport)  # type: ignore[arg-type]
    for piece in pieces:
        if transport.closed:
            break
        connection.data_received(piece)
        await settled(connection)
    closed = transport.closed
    written = bytes(transport.written)
    connection.connection_lost(None)
    await settled(connection)
    return Fed(asked, written, closed, core.metrics.in_flight)


async def settled(connection: HttpConnection) -> None:
    """Let the answers that are under way end."""
    while (task := connection._task) is not None:
        await asyncio.wait([task])
