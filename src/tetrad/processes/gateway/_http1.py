"""The data plane's own HTTP/1.1 front end (RFC 9112) on uvloop and httptools, without a framework in between.

One protocol object a connection, one task a call of a model, no timer a request: a sweep over all connections, a few
times a second, keeps every deadline. What strangers send is bounded before it is looked at: heads, framing, trailers,
bodies, pipelined requests, and what is thrown away after a refusal.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Sequence

from tetrad.processes.gateway._core import GatewayCore
from tetrad.processes.gateway._http1_connection import HttpConnection, OpenConnection
from tetrad.processes.gateway._known_heads import KnownHeads
from tetrad.processes.gateway._wire import BACKLOG

_SWEEP_S = 0.25


class HttpServer:
    """Serve a `GatewayCore` on listening sockets until `stop`, then let what is under way end, for `drain_s` seconds.

    A connection must bring a whole head within `header_timeout_s`, and may be idle between requests for `keep_alive_s`.
    """

    def __init__(self, core: GatewayCore, *, header_timeout_s: float, keep_alive_s: float, drain_s: float) -> None:
        self.core = core
        self.header_timeout_s = header_timeout_s
        self.keep_alive_s = keep_alive_s
        self.date = b""
        self.connections: set[HttpConnection] = set()
        self.heads = KnownHeads()
        self._drain_s = drain_s
        self.empty = asyncio.Event()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Stop accepting, and let what is under way end."""
        self.core.draining = True
        self._stopping.set()

    def connect(self, loop: asyncio.AbstractEventLoop) -> HttpConnection:
        """Return the protocol of a new connection."""
        return HttpConnection(self, loop) if self.core.cors is None else OpenConnection(self, loop)

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Return once stopped and drained."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self.stop)
        self._tell_date()
        sweeper = loop.create_task(self._sweep(), name="http-deadlines")
        servers = [await loop.create_server(lambda: self.connect(loop), sock=each, backlog=BACKLOG) for each in sockets]
        try:
            await self._stopping.wait()
        finally:
            for server in servers:
                server.close()
            await self._drain()
            sweeper.cancel()
            for number in numbers:
                loop.remove_signal_handler(number)

    async def _drain(self) -> None:
        for connection in list(self.connections):
            connection.finish()
        await self._until_empty(self._drain_s)
        for connection in list(self.connections):
            connection.cancel()
        await self._until_empty(1.0)
        for connection in list(self.connections):
            connection.abort()
        await self._until_empty(1.0)

    async def _until_empty(self, seconds: float) -> None:
        if self.connections:
            self.empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.empty.wait(), seconds)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._tell_date()
            now = loop.time()
            for connection in list(self.connections):
                if connection.deadline and connection.deadline <= now:
                    connection.late()

    def _tell_date(self) -> None:
        self.date = time.strftime("date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime()).encode()
