"""The data plane over ASGI 3: no framework, one dictionary look-up, then the pipeline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import msgspec

from tetrad.kernel import Overloaded, TetradError, TooLarge, Unavailable
from tetrad.processes.gateway._metrics import Metrics
from tetrad.serving import BY_PATH, Exchange, Operation, Pipeline, RequestRefused, error_body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONNECTION = "tetrad.connection"
"""The key in `scope["extensions"]` under which our server hands out the connection, see `_server.Watched`."""
_JSON = [(b"content-type", b"application/json")]
_NOT_YET = ("/v1/messages", "/v1/responses", "/v1/completions", "/v1/images", "/v1/audio")


class ClientGone(Exception):
    """The client left before its request was whole."""


class GatewayApp:
    """An ASGI application; `metrics_page` renders the page of all workers."""

    def __init__(
        self,
        pipeline: Pipeline,
        metrics: Metrics,
        *,
        metrics_page: Callable[[], bytes],
        max_body: int,
        body_timeout_s: float,
        max_in_flight: int,
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._metrics_page = metrics_page
        self._max_body = max_body
        self._body_timeout_s = body_timeout_s
        self._max_in_flight = max_in_flight
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        operation = BY_PATH.get(path)
        if operation is not None and scope["method"] == "POST":
            await self._call_model(operation, scope, receive, send)
            return
        reply = _AsgiReply(send)
        try:
            status, content_type, body = self._page(path, scope)
        except TetradError as error:
            headers = list(_JSON)
            if error.status == 405:
                headers.append((b"allow", b"POST" if operation else b"GET, HEAD"))
            if error.retry_after_s is not None:
                headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
            await reply.whole(error.status, headers, error_body(error))
        else:
            await reply.whole(status, [(b"content-type", content_type)], body)

    # calls of models

    async def _call_model(self, operation: Operation, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(operation, dict(scope["headers"]), time.time_ns())
        reply = _AsgiReply(send, (scope.get("extensions") or {}).get(CONNECTION))
        if self._metrics.in_flight >= self._max_in_flight:
            await self._pipeline.refuse(
                exchange,
                Overloaded(
                    f"this gateway worker has {self._max_in_flight} requests under way",
                    hint="try again in a moment",
                    code="too_many_requests",
                    retry_after_s=1.0,
                ),
                reply,
            )
            return
        self._metrics.in_flight += 1
        try:
            await self._answer(exchange, scope, receive, reply)
        finally:
            self._metrics.in_flight -= 1

    async def _answer(self, exchange: Exchange, scope: Scope, receive: Receive, reply: _AsgiReply) -> None:
        pipeline = self._pipeline
        connection = (scope.get("extensions") or {}).get(CONNECTION)
        try:
            pipeline.authenticate(exchange)
            exchange.body = await self._read_body(exchange, receive, connection)
        except TetradError as error:
            await pipeline.refuse(exchange, error, reply)
            return
        except ClientGone:
            pipeline.abandon(exchange, "client_disconnected")
            return
        exchange.ready_ns = time.time_ns()
        gone = _Gone()
        watcher: asyncio.Task[None] | None = None
        if connection is not None:
            connection.watch(gone)
        else:
            watcher = asyncio.get_running_loop().create_task(_watch(receive, gone))
        try:
            await pipeline.serve(exchange, reply)
        except asyncio.CancelledError:
            if gone.called:
                gone.task.uncancel()
                return
            if not reply.begun:
                await reply.whole(
                    503,
                    [*_JSON, (b"retry-after", b"1")],
                    error_body(Unavailable("the gateway is shutting down", hint="try again", code="shutting_down")),
                )
            raise
        finally:
            if connection is not None:
                connection.watch(None)
            if watcher is not None:
                watcher.cancel()

    async def _read_body(self, exchange: Exchange, receive: Receive, connection: Any) -> bytes:
        headers = exchange.headers
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise RequestRefused(
                "compressed request bodies are not read", hint="send the body as it is", status=415, code="bad_encoding"
            )
        declared = headers.get(b"content-length")
        if declared is not None and int(declared) > self._max_body:
            raise self._too_large(int(declared))
        if connection is not None and connection.body_is_here:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            return self._checked(message["body"])
        try:
            async with asyncio.timeout(self._body_timeout_s):
                return await self._collect(receive)
        except TimeoutError:
            raise RequestRefused(
                f"the request's body did not arrive within {self._body_timeout_s:g} s",
                hint="send it faster, or split it",
                status=408,
                code="body_timeout",
            ) from None

    async def _collect(self, receive: Receive) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._max_body:
                raise self._too_large(size)
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces)

    def _checked(self, body: bytes) -> bytes:
        if len(body) > self._max_body:
            raise self._too_large(len(body))
        return body

    def _too_large(self, size: int) -> TooLarge:
        return TooLarge(
            f"the request's body has {size:,} bytes or more; at most {self._max_body:,} are read",
            hint="send less, or raise TETRAD_GATEWAY_MAX_BODY_BYTES",
            code="body_too_large",
        )

    # everything else

    def _page(self, path: str, scope: Scope) -> tuple[int, bytes, bytes]:
        known = path in ("/healthz", "/readyz", "/metrics", "/v1/models") or path.startswith("/v1/models/")
        if path in BY_PATH or (known and scope["method"] not in ("GET", "HEAD")):
            wanted = "POST" if path in BY_PATH else "GET"
            raise RequestRefused(
                f"{scope['method']} is not allowed here", hint=f"use {wanted}", status=405, code="method_not_allowed"
            )
        if path == "/healthz":
            return 200, b"text/plain", b"ok\n"
        if path == "/readyz":
            if self.draining:
                raise Unavailable("the gateway is shutting down", code="shutting_down", retry_after_s=1.0)
            version = self._pipeline.current().table.version
            return 200, b"application/json", msgspec.json.encode({"ready": True, "table_version": version})
        if path == "/metrics":
            return 200, b"text/plain; version=0.0.4; charset=utf-8", self._metrics_page()
        if known:
            return 200, b"application/json", self._models(path, scope)
        if path.startswith(_NOT_YET):
            raise RequestRefused(
                f"{path[:200]} is not served yet: the gateway speaks chat completions, embeddings and models of the "
                "OpenAI protocol",
                hint="use an OpenAI client with the same model and key",
                status=404,
                code="protocol_not_served",
            )
        raise RequestRefused(
            f"there is nothing at {path[:200]}",
            hint="the base URL of OpenAI clients ends in /v1; the console and the API have a port of their own",
            status=404,
            code="unknown_url",
        )

    def _models(self, path: str, scope: Scope) -> bytes:
        table = self._pipeline.current()
        key = table.authenticate(dict(scope["headers"]), time.time_ns())
        entries = [
            {"id": name, "object": "model", "created": made_s, "owned_by": owner}
            for name, owner, made_s in table.names(key)
        ]
        wanted = path.removeprefix("/v1/models").strip("/")
        if not wanted:
            return msgspec.json.encode({"object": "list", "data": entries})
        for entry in entries:
            if entry["id"] == wanted:
                return msgspec.json.encode(entry)
        raise RequestRefused(
            f"the model {wanted[:200]!r} does not exist",
            param="model",
            hint="GET /v1/models lists what this key may call",
            status=404,
            code="model_not_found",
        )


class _AsgiReply:
    """A reply over ASGI; `send` waits while the client's socket is full, and so does whoever reads the upstream."""

    __slots__ = ("_connection", "_send", "begun")

    def __init__(self, send: Send, connection: Any = None) -> None:
        self._send = send
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
        await self._send({"type": "http.response.body", "body": piece, "more_body": False})


class _Gone:
    """Cancels the task that made it, when the client leaves."""

    __slots__ = ("called", "task")

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("requests are answered in tasks")
        self.task = task
        self.called = False

    def __call__(self) -> None:
        self.called = True
        self.task.cancel()


async def _watch(receive: Receive, gone: _Gone) -> None:
    """Watch for the client's departure where the server is not ours (one more task per request)."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone()
