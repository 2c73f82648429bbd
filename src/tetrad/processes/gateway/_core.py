"""What the data plane answers, whatever carries it: one dictionary look-up, then the pipeline or a page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from tetrad.kernel import Overloaded, TetradError, TooLarge, Unavailable
from tetrad.processes.gateway._azure import PREFIX as AZURE
from tetrad.processes.gateway._azure import azure_exchange, usual_path
from tetrad.processes.gateway._cors import Cors
from tetrad.processes.gateway._desk import at_desk, pass_on
from tetrad.processes.gateway._elsewhere import (
    allowed_at,
    is_file_of_anthropic,
    is_not_served,
    no_files_of_anthropic,
    nothing_at,
)
from tetrad.processes.gateway._following import EVENT_STREAM, EventFollower
from tetrad.processes.gateway._memory import PREFIX, ControlMemory
from tetrad.processes.gateway._metrics import Metrics
from tetrad.processes.gateway._relay import ControlRelay, relayed
from tetrad.processes.gateway._request_ids import RequestId, id_header
from tetrad.processes.gateway._shedding import Shedder, priority_of
from tetrad.processes.gateway._turn import Turn
from tetrad.serving import BY_PATH, AnswerTorn, Exchange, Pipeline, Reply, RequestRefused, error_body, error_event
from tetrad.tools import COMBINED, ToolExchange, ToolProxy
from tetrad.tools import PREFIX as MCP

JSON = (b"content-type", b"application/json")
_PAGES = frozenset(("/healthz", "/readyz", "/metrics", "/v1/models"))

Page = tuple[int, list[tuple[bytes, bytes]], bytes]


class GatewayCore:
    """Requests in, answers out; `metrics_page` renders the page of all workers.

    Where records are held back until a `turn` ends, so is the end of every answer.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        metrics: Metrics,
        *,
        metrics_page: Callable[[], bytes],
        max_body: int,
        body_timeout_s: float,
        max_in_flight: int,
        shed_lag_s: float = 0.0,
        memory: ControlMemory | None = None,
        relay: ControlRelay | None = None,
        tools: ToolProxy | None = None,
        turn: Turn | None = None,
        cors: Cors | None = None,
    ) -> None:
        self.cors = cors
        self.pipeline = pipeline
        self.metrics = metrics
        self.max_body = max_body
        self.body_timeout_s = body_timeout_s
        self._metrics_page = metrics_page
        self._max_in_flight = max_in_flight
        self.shedder = Shedder(max_in_flight, shed_lag_s)
        metrics.shedder = self.shedder
        self._memory = memory
        self._relay = relay
        self.turn = turn
        self._tools = tools
        self._draining = False

    @property
    def draining(self) -> bool:
        """Whether nothing new is begun."""
        return self._draining

    @draining.setter
    def draining(self, value: bool) -> None:
        self._draining = value
        if value and self._tools is not None:
            self._tools.drain()
        if value and self._memory is not None:
            self._memory.drain()

    def exchange(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Exchange | None:
        """Return what a request asks of a model or of an MCP server; None where it asks for a page."""
        operation = BY_PATH.get(path) if method == "POST" else None
        if operation is not None:
            return Exchange(operation, headers, time.time_ns())
        if self._tools is not None and self._tools.serves(method, path):
            return ToolExchange(method, path, headers, time.time_ns())
        return azure_exchange(method, path, headers, time.time_ns()) if path.startswith(AZURE) else None

    @staticmethod
    def page_at(path: str) -> str:
        """Return under which of our paths a page is known, whoever's client asks for it."""
        return usual_path(path)[0] if path.startswith(AZURE) else path

    def serve(self, exchange: Exchange, reply: Reply) -> Awaitable[None]:
        """Answer an admitted exchange whose body is there; raises nothing but `AnswerTorn`."""
        if isinstance(exchange, ToolExchange) and self._tools is not None:
            return self._tools.serve(exchange, reply)
        return self.pipeline.serve(exchange, reply)

    def refuse(self, exchange: Exchange, error: TetradError, reply: Reply) -> Awaitable[None]:
        """Answer with an error, in the client's protocol."""
        if isinstance(exchange, ToolExchange) and self._tools is not None:
            return self._tools.refuse(exchange, error, reply)
        return self.pipeline.refuse(exchange, error, reply)

    def abandon(self, exchange: Exchange, why: str) -> None:
        """Record an exchange whose client cannot be answered any more."""
        if isinstance(exchange, ToolExchange) and self._tools is not None:
            self._tools.abandon(exchange, why)
        else:
            self.pipeline.abandon(exchange, why)

    def admit(self, exchange: Exchange, declared: int | None) -> TetradError | None:
        """Return why an exchange ends before its body is read; `declared` is the length that its head announces."""
        if self.metrics.in_flight >= self._max_in_flight:
            return self._full()
        if isinstance(exchange, ToolExchange) and self._tools is not None:
            refused = self._tools.check_origin(exchange)
            if refused is not None:
                return refused
        try:
            self.pipeline.authenticate(exchange)
        except TetradError as error:
            return error
        key = exchange.key
        if key is not None:
            refused = self.shedder.refusal(self.metrics.in_flight, priority_of(key.priority, exchange.headers))
            if refused is not None:
                return refused
        if exchange.headers.get(b"content-encoding", b"identity") != b"identity":
            return RequestRefused(
                "compressed request bodies are not read", hint="send the body as it is", status=415, code="bad_encoding"
            )
        if declared is not None and declared > self.max_body:
            return self.too_large(declared)
        return None

    def _full(self) -> Overloaded:
        return Overloaded(
            f"this gateway worker has {self._max_in_flight} requests under way",
            hint="try again in a moment",
            code="too_many_requests",
            retry_after_s=1.0,
        )

    def too_large(self, size: int) -> TooLarge:
        """Return what is wrong with a body of so many bytes."""
        return TooLarge(
            f"the request's body has {size:,} bytes or more; at most {self.max_body:,} are read",
            hint="send less, or raise TETRAD_GATEWAY_MAX_BODY_BYTES",
            code="body_too_large",
        )

    def too_slow(self) -> RequestRefused:
        """Return what is wrong with a body that does not come."""
        return RequestRefused(
            f"the request's body did not arrive within {self.body_timeout_s:g} s",
            hint="send it faster, or split it",
            status=408,
            code="body_timeout",
        )

    # pages

    def page(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Page:
        """Answer anything that is no call of a model."""
        told = None if self.cors is None else self.cors.preflight(method, path, headers)
        if told is not None:
            return told
        asked = RequestId(path, headers)
        try:
            status, content_type, body = self._page(method, path, headers)
        except TetradError as error:
            return _refused(error, path, asked)
        return status, [(b"content-type", content_type), asked.header], body

    def stored(self, method: str, path: str) -> bool:
        """Tell whether a page is about a stored response, which is to be asked for elsewhere."""
        if self._memory is None or not path.startswith(PREFIX) or is_not_served(path):
            return False
        return method != "OPTIONS"

    async def answer_stored(
        self, method: str, path: str, query: str, headers: Mapping[bytes, bytes], reply: Reply
    ) -> None:
        """Answer what a client asks of a stored response; never raises but for cancellation."""
        asked = RequestId(path, headers)
        begun = _Begun(reply, asked.header)
        try:
            if self._memory is None:
                raise Unavailable(
                    "this gateway stores no responses", hint="send the whole conversation", code="state_unavailable"
                )
            if self.metrics.in_flight >= self._max_in_flight:
                raise self._full()
            key = self.pipeline.current().authenticate(headers, time.time_ns())
            self.metrics.in_flight += 1
            try:
                followed = self._memory.followed(method, path, query, key.project)
                if followed is None:
                    page = await self._memory.page(method, path, query, key.project, asked.text)
                    await begun.whole(*page)
                    return
                try:
                    await _follow(followed, begun)
                finally:
                    followed.close()
            finally:
                self.metrics.in_flight -= 1
        except TetradError as error:
            if begun.begun:
                await reply.end(error_event(error, "responses"))
            else:
                await reply.whole(*_refused(error, path, asked))

    def relayed(self, method: str, path: str) -> bool:
        """Tell whether a page is about files or batches: its body and its answer pass through as they come."""
        return (at_desk(path) or (self._relay is not None and relayed(path))) and method != "OPTIONS"

    async def relay(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[bytes, bytes],
        body: AsyncIterator[bytes],
        reply: Reply,
    ) -> None:
        """Answer what a client asks of files and batches; raises nothing but `AnswerTorn`, and for cancellation."""
        asked = RequestId(path, headers)
        begun = _Begun(reply, asked.header)
        try:
            if at_desk(path):
                table = self.pipeline.current()
                key = table.authenticate(headers, time.time_ns())
                await pass_on(table, key, method, path, query, headers, body, begun)
                return
            if is_file_of_anthropic(path, headers):
                raise no_files_of_anthropic()
            if self._relay is None:
                raise Unavailable(
                    "this gateway keeps no files", hint="ask one that has a control plane", code="state_unavailable"
                )
            if self.metrics.in_flight >= self._max_in_flight:
                raise self._full()
            key = self.pipeline.current().authenticate(headers, time.time_ns())
            self.metrics.in_flight += 1
            try:
                await self._relay.answer(method, path, query, headers, key, body, begun, asked.text)
            finally:
                self.metrics.in_flight -= 1
        except TetradError as error:
            if begun.begun:
                raise AnswerTorn(error.message) from error
            await reply.whole(*_refused(error, path, asked))

    def _page(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> tuple[int, bytes, bytes]:
        known = path in _PAGES or path.startswith("/v1/models/")
        if self._tools is not None and (path == COMBINED or path.startswith(MCP)):
            raise RequestRefused(
                f"{method} is not allowed here", hint="use POST, GET or DELETE", status=405, code="method_not_allowed"
            )
        if method == "OPTIONS" and (relayed(path) or path.startswith(PREFIX)) and not is_not_served(path):
            raise RequestRefused(
                f"{method} is not allowed here", hint="use GET, POST or DELETE", status=405, code="method_not_allowed"
            )
        if path in BY_PATH or (known and method not in ("GET", "HEAD")):
            wanted = "POST" if path in BY_PATH else "GET"
            raise RequestRefused(
                f"{method} is not allowed here", hint=f"use {wanted}", status=405, code="method_not_allowed"
            )
        if path == "/healthz":
            return 200, b"text/plain", b"ok\n"
        if path == "/readyz":
            if self.draining:
                raise Unavailable(
                    "the gateway is shutting down", hint="try again", code="shutting_down", retry_after_s=1.0
                )
            version = self.pipeline.current().table.version
            return 200, b"application/json", msgspec.json.encode({"ready": True, "table_version": version})
        if path == "/metrics":
            return 200, b"text/plain; version=0.0.4; charset=utf-8", self._metrics_page()
        if known:
            return 200, b"application/json", self._models(path, headers)
        raise nothing_at(path)

    def _models(self, path: str, headers: Mapping[bytes, bytes]) -> bytes:
        table = self.pipeline.current()
        key = table.authenticate(headers, time.time_ns())
        entries: list[dict[str, Any]] = [
            {"id": name, "object": "model", "created": made_s, "owned_by": owner}
            for name, owner, made_s in table.names(key)
        ]
        wanted = path.removeprefix("/v1/models").strip("/")
        if b"anthropic-version" in headers:
            entries = [_anthropic_model(entry) for entry in entries]
        if not wanted and b"anthropic-version" in headers:
            ends = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]} if entries else {}
            return msgspec.json.encode({"data": entries, "has_more": False, **ends})
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


def _anthropic_model(entry: dict[str, Any]) -> dict[str, Any]:
    made = datetime.fromtimestamp(entry["created"], UTC).isoformat().replace("+00:00", "Z")
    return {"type": "model", "id": entry["id"], "display_name": entry["id"], "created_at": made}


class _Begun:
    """A reply that tells whether its head is out, and in it one header more."""

    __slots__ = ("_header", "_reply", "begun")

    def __init__(self, reply: Reply, header: tuple[bytes, bytes]) -> None:
        self._reply = reply
        self._header = header
        self.begun = False

    async def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        self.begun = True
        await self._reply.whole(status, [*headers, self._header], body)

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.begun = True
        await self._reply.begin(status, [*headers, self._header])

    async def write(self, piece: bytes) -> None:
        await self._reply.write(piece)

    async def end(self, piece: bytes) -> None:
        await self._reply.end(piece)


class Gone:
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


def unmet(expected: bytes) -> RequestRefused:
    """Return the refusal of a request that expects something else than `100-continue` (RFC 9110 10.1.1)."""
    return RequestRefused(
        f"the expectation {expected[:80].decode('latin-1')!r} cannot be met",
        hint="leave the header Expect out, or say 100-continue",
        status=417,
        code="expectation_failed",
    )


def shutting_down(exchange: Exchange) -> tuple[int, Sequence[tuple[bytes, bytes]], bytes]:
    """Return the answer to whoever still waits when the gateway must end."""
    error = Unavailable("the gateway is shutting down", hint="try again", code="shutting_down")
    dialect, trace = exchange.operation.dialect, exchange.trace_id
    return 503, [JSON, (b"retry-after", b"1"), id_header(trace, dialect)], error_body(error, dialect, trace)


async def _follow(followed: EventFollower, reply: Reply) -> None:
    piece = await followed.read()
    await reply.begin(200, EVENT_STREAM)
    while piece:
        await reply.write(piece)
        piece = await followed.read()
    await reply.end(b"")


def _refused(error: TetradError, path: str, asked: RequestId) -> Page:
    extra = [JSON, asked.header]
    if error.status == 405:
        extra.append((b"allow", allowed_at(path)))
    if error.retry_after_s is not None:
        extra.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
    return error.status, extra, error_body(error, asked.dialect, asked.text)
