"""The data plane over ASGI 3: no framework."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any

from tetrad.kernel import TetradError
from tetrad.processes.gateway._core import GatewayCore, Gone, shutting_down, unmet
from tetrad.processes.gateway._turn import Turn
from tetrad.serving import AnswerTorn, Exchange, RequestRefused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONNECTION = "tetrad.connection"
"""The key in `scope["extensions"]` under which our server hands out the connection, see `_server.Watched`."""


class ClientGone(Exception):
    """The client left before its request was whole."""


class GatewayApp(GatewayCore):
    """The gateway as an ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        method, headers = scope["method"], dict(scope["headers"])
        path = self.page_at(scope["path"])
        if self.cors is not None:
            send = _open(send, self.cors.headers(path, headers))
        if self.relayed(method, path):
            query = scope["query_string"].decode("latin-1")
            with contextlib.suppress(AnswerTorn):  # an answer that is not ended: the server cuts the connection
                await self.relay(method, path, query, headers, self._pieces(receive), _AsgiReply(send))
            return
        exchange = self.exchange(method, scope["path"], headers)
        if exchange is not None:
            await self._call_model(exchange, scope, receive, send)
            return
        if self.stored(method, path):
            query = scope["query_string"].decode("latin-1")
            connection = (scope.get("extensions") or {}).get(CONNECTION)
            await self._answer_stored(method, path, query, headers, _AsgiReply(send), connection, receive)
            return
        await _AsgiReply(send).whole(*self.page(method, path, headers))

    async def _call_model(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        connection = (scope.get("extensions") or {}).get(CONNECTION)
        reply = _AsgiReply(send, connection, self.turn)
        declared = exchange.headers.get(b"content-length")
        refusal = self.admit(exchange, None if declared is None else int(declared))
        expected = exchange.headers.get(b"expect")
        if refusal is None and expected is not None and scope["http_version"] != "1.0":
            refusal = unmet(expected) if expected.lower() != b"100-continue" else None
        if refusal is not None:
            await self.refuse(exchange, refusal, reply)
            return
        self.metrics.in_flight += 1
        try:
            await self._answer(exchange, receive, reply, connection)
        finally:
            self.metrics.in_flight -= 1

    async def _answer_stored(
        self,
        method: str,
        path: str,
        query: str,
        headers: dict[bytes, bytes],
        reply: _AsgiReply,
        connection: Any,
        receive: Receive,
    ) -> None:
        with _leaving(connection, receive) as gone:
            try:
                await self.answer_stored(method, path, query, headers, reply)
            except asyncio.CancelledError:
                if not gone.called:
                    raise
                gone.task.uncancel()

    async def _answer(self, exchange: Exchange, receive: Receive, reply: _AsgiReply, connection: Any) -> None:
        try:
            exchange.body = await self._read_body(receive, connection)
        except TetradError as error:
            await self.refuse(exchange, error, reply)
            return
        except ClientGone:
            self.abandon(exchange, "client_disconnected")
            return
        exchange.ready_ns = time.time_ns()
        with _leaving(connection, receive) as gone:
            try:
                await self.serve(exchange, reply)
            except AnswerTorn:
                return  # an answer that is not ended: the server cuts the connection
            except asyncio.CancelledError:
                if gone.called:
                    gone.task.uncancel()
                    return
                if not reply.begun:
                    await reply.whole(*shutting_down(exchange))
                raise

    async def _read_body(self, receive: Receive, connection: Any) -> bytes:
        if connection is not None and connection.body_is_here:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            return self._checked(message["body"])
        try:
            async with asyncio.timeout(self.body_timeout_s):
                return await self._collect(receive)
        except TimeoutError:
            raise self.too_slow() from None

    async def _pieces(self, receive: Receive) -> AsyncIterator[bytes]:
        """Yield a body as it comes; raises `RequestRefused` where it does not, or breaks off."""
        more = True
        while more:
            try:
                async with asyncio.timeout(self.body_timeout_s):
                    message = await receive()
            except TimeoutError:
                raise self.too_slow() from None
            if message["type"] == "http.disconnect":
                raise RequestRefused("the client left in the middle of the request's body", code="body_broken")
            yield message.get("body", b"")
            more = message.get("more_body", False)

    async def _collect(self, receive: Receive) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            size += len(piece)
            if size > self.max_body:
                raise self.too_large(size)
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces)

    def _checked(self, body: bytes) -> bytes:
        if len(body) > self.max_body:
            raise self.too_large(len(body))
        return body


class _AsgiReply:
    """A reply over ASGI; `send` waits while the client's socket is full, and so does whoever reads the upstream."""

    __slots__ = ("_connection", "_send", "_turn", "begun")

    def __init__(self, send: Send, connection: Any = None, turn: Turn | None = None) -> None:
        self._send = send
        self._turn = turn
        self._connection = connection
        self.begun = False

    async def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        if self._connection is not None:
            self._connection.cork()
        await self.begin(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.end(body)

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self, piece: bytes) -> None:
        if self._turn is not None:
            self._turn.flush()  # the record of an answer is written before its end
        await self._send({"type": "http.response.body", "body": piece, "more_body": False})


def _open(send: Send, readers: Sequence[tuple[bytes, bytes]]) -> Send:
    """Return what sends an answer that says which pages in browsers may read it."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *readers]}
        await send(message)

    return sent


@contextlib.contextmanager
def _leaving(connection: Any, receive: Receive) -> Iterator[Gone]:
    """Cancel the task of a request whose client leaves meanwhile."""
    gone = Gone()
    watcher: asyncio.Task[None] | None = None
    if connection is not None:
        connection.watch(gone)
    else:
        watcher = asyncio.get_running_loop().create_task(_watch(receive, gone))
    try:
        yield gone
    finally:
        if connection is not None:
            connection.watch(None)
        if watcher is not None:
            watcher.cancel()


async def _watch(receive: Receive, gone: Gone) -> None:
    """Watch for the client's departure where the server is not ours (one more task per request)."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone()
