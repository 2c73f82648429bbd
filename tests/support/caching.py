"""A pipeline whose only layer is the cache, over an upstream that answers as told."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import msgspec

from support import gateway as g
from tetrad.kernel import SystemClock, Usage
from tetrad.serving import OPERATIONS, Cache, CachePolicy, Exchange, MemoryAnswers, Pipeline, Upstream
from tetrad.serving.ports import Answer, ModelCall, Outcome

OPERATION = {operation.name: operation for operation in OPERATIONS}
ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m1-2026",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Paris."}, "logprobs": None, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17},
}
EVENTS = [
    b'data: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"Par"}}]}\n\n',
    b'data: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"is."}}]}\n\n',
    b'data: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":12,"completion_tokens":5}}\n\ndata: [DONE]\n\n',
]
GOOD = Outcome(
    usage=Usage(input=12, output=5),
    finish_reasons=("stop",),
    output=b'[{"role":"assistant","content":"Paris."}]',
    response_model="m1-2026",
    response_id="chatcmpl-1",
)
REFRESH = {b"x-tetrad-cache": b"refresh"}
ON = {b"x-tetrad-cache": b"on"}
OFF = {b"x-tetrad-cache": b"off"}


class Upstreams:
    """Answers every call as told; `gate` holds answers back until it is set."""

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []
        self.arrivals: asyncio.Queue[ModelCall] = asyncio.Queue()
        self.body: bytes = json.dumps(ANSWER).encode()
        self.events: list[bytes | Exception] = [*EVENTS]
        self.outcome = GOOD
        self.status = 200
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    def endpoint(self, upstream: Upstream) -> Upstreams:
        return self

    async def call(self, call: ModelCall) -> Answer:
        self.calls.append(call)
        self.arrivals.put_nowait(call)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return _Scripted(self.events if call.stream else [self.body], self.outcome, self.status, stream=call.stream)

    async def close(self) -> None:
        return None


class _Scripted:
    def __init__(self, pieces: list[Any], outcome: Outcome, status: int, *, stream: bool) -> None:
        self.status, self.stream, self.done, self.dropped = status, stream, False, ()
        self.headers: list[tuple[bytes, bytes]] = [] if stream else [(b"content-type", b"application/json")]
        self.received_ns = time.time_ns()
        self._pieces, self._outcome = list(pieces), outcome

    async def read(self) -> bytes:
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        self.done = not self._pieces
        return piece

    def outcome(self) -> Outcome:
        return self._outcome if self.done else Outcome()

    def close(self) -> None:
        pass


class Reply:
    """Keeps what a client gets; leaves after `patience` pieces."""

    def __init__(self, patience: int = 1_000_000) -> None:
        self.status, self.headers, self.pieces = 0, {}, []
        self._patience = patience

    async def whole(self, status, headers, body) -> None:
        await self.begin(status, headers)
        await self.end(body)

    async def begin(self, status, headers) -> None:
        self.status, self.headers = status, dict(headers)

    async def write(self, piece) -> None:
        self.pieces.append(piece)
        self._patience -= 1
        if self._patience <= 0:
            raise asyncio.CancelledError

    async def end(self, piece) -> None:
        self.pieces.append(piece)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def cache(self) -> str:
        return self.headers.get(b"x-tetrad-cache", b"").decode()


class Bench:
    """A pipeline whose only layer is the cache; every app of the table is cached unless told otherwise."""

    def __init__(self, policy: CachePolicy | None = CachePolicy(use="always"), **cache: Any) -> None:  # noqa: B008
        self.clock = cache.pop("clock", SystemClock())
        self.upstreams = Upstreams()
        self.records: list[Exchange] = []
        memory = MemoryAnswers(
            most_bytes=cache.pop("most_bytes", 10_000_000), most_entries=cache.pop("most_entries", 1000)
        )
        self.cache = Cache(memory, self.clock, **cache)
        self.pipeline = Pipeline(
            {"openai": self.upstreams}, record=self.records.append, clock=self.clock, layers=(self.cache,)
        )
        self.table = g.make_table("http://127.0.0.1:1/v1")
        if policy is not None:
            self.install(caches={"default/": policy})
        else:
            self.install()

    def install(self, **changes: Any) -> None:
        self.table = msgspec.structs.replace(self.table, version=self.table.version + 1, **changes)
        self.pipeline.install(self.table)

    async def ask(
        self,
        body: dict[str, Any],
        *,
        headers: dict[bytes, bytes] | None = None,
        key: str = g.KEY,
        operation: str = "chat",
        patience: int = 1_000_000,
    ) -> Reply:
        exchange = Exchange(
            OPERATION[operation], {b"authorization": f"Bearer {key}".encode(), **(headers or {})}, time.time_ns()
        )
        reply = Reply(patience)
        self.pipeline.authenticate(exchange)
        exchange.body = json.dumps(body).encode()
        try:
            await self.pipeline.serve(exchange, reply)
        except asyncio.CancelledError:
            self.pipeline.abandon(exchange, "client_disconnected")
        return reply

    async def chat(self, text: str = "hi", *, model: str = "local/m1", **given: Any) -> Reply:
        where = {name: given.pop(name) for name in ("headers", "key", "patience") if name in given}
        return await self.ask({"model": model, "messages": [{"role": "user", "content": text}], **given}, **where)
