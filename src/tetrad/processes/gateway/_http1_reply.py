"""One request of a connection, and the answer to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tetrad.kernel import TetradError
from tetrad.processes.gateway._body_pipe import BodyPipe
from tetrad.serving import Exchange

if TYPE_CHECKING:
    from tetrad.processes.gateway._http1_connection import HttpConnection

_LAST_CHUNK = b"0\r\n\r\n"


class HttpRequest:
    """A request whose turn to be answered comes: a page, a call of a model, or a refusal."""

    __slots__ = (
        "counted",
        "error",
        "exchange",
        "expects",
        "head",
        "http10",
        "keep_alive",
        "method",
        "path",
        "pipe",
        "query",
    )

    def __init__(self, method: str, path: str, *, keep_alive: bool, http10: bool) -> None:
        self.method = method
        self.path = path
        self.keep_alive = keep_alive
        self.http10 = http10
        self.exchange: Exchange | None = None
        self.error: TetradError | None = None
        self.head: dict[bytes, bytes] = {}
        self.query = ""
        self.counted = False
        self.expects = False
        self.pipe: BodyPipe | None = None
        """Where the body goes that is passed on as it comes."""


class HttpReply:
    """The answer to one request; every method waits while the client's socket is full."""

    __slots__ = ("_connection", "_held", "_request", "begun")

    def __init__(self, connection: HttpConnection, request: HttpRequest) -> None:
        self._connection = connection
        self._request = request
        self._held = b""
        self.begun = False

    async def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        connection = self._connection
        self.begun = True
        connection.write_end(connection._whole(self._request, status, headers, body))
        if connection._drained is not None:
            await connection._drained

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Hold the head back for one turn of the loop: with the first piece it is one system call, not two."""
        connection = self._connection
        self.begun = True
        self._held = connection._stream_head(self._request, status, headers)
        connection._loop.call_soon(self._release)

    async def write(self, piece: bytes) -> None:
        if not piece:
            return
        data = piece if self._request.http10 else b"%x\r\n%b\r\n" % (len(piece), piece)
        connection = self._connection
        if self._held:
            data, self._held = self._held + data, b""
        connection._write(data)
        if connection._drained is not None:
            await connection._drained

    def put(self, piece: bytes) -> bool:
        """Write a piece of a stream without waiting; tell whether the client takes more now."""
        connection = self._connection
        transport = connection._transport
        if transport.is_closing():  # the client is gone, and its protocol is told in the loop's next turn
            return False
        data = piece if self._request.http10 else b"%x\r\n%b\r\n" % (len(piece), piece)
        if self._held:
            data, self._held = self._held + data, b""
        if connection._owed:
            connection._write(data)
        else:
            transport.write(data)
        return connection._drained is None

    async def end(self, piece: bytes) -> None:
        data = piece
        if not self._request.http10:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(piece), piece) if piece else _LAST_CHUNK
        connection = self._connection
        if self._held:
            data, self._held = self._held + data, b""
        connection.write_end(data)
        if connection._drained is not None:
            await connection._drained

    def _release(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            if not self._connection._lost:
                self._connection._write(held)
