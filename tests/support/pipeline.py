"""The request pipeline on a bench: a fake provider, a fake transport, records in a list."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from support import gateway as g
from tetrad.kernel import SystemClock, TetradError, Usage
from tetrad.serving import OPERATIONS, Exchange, Pipeline, Readiness, RouteTable, Upstream
from tetrad.serving.ports import Answer, ModelCall, Outcome

OPERATION = {operation.name: operation for operation in OPERATIONS}


class FakeAnswer:
    """Pieces, of which the last one makes it done; an exception among them is raised."""

    def __init__(
        self, pieces: Sequence[bytes | Exception], outcome: Outcome, *, stream: bool, status: int = 200
    ) -> None:
        self.status, self.headers, self.stream, self.done = status, [], stream, False
        self.received_ns, self.dropped = time.time_ns(), ()
        self._pieces, self._outcome = list(pieces), outcome
        self.closed = 0

    async def read(self) -> bytes:
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        self.done = not self._pieces
        return piece

    def outcome(self) -> Outcome:
        return self._outcome

    def close(self) -> None:
        self.closed += 1


class FakeProvider:
    """Keeps calls; answers what `answers` says."""

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []
        self.bound = 0
        self.outcome = Outcome(usage=Usage(input=10, cache_read=2, output=4), output=b'[{"role":"assistant"}]')
        self.pieces: list[bytes | Exception] = [b"{}"]
        self.answers: list[FakeAnswer] = []
        self.error: Exception | None = None

    def endpoint(self, upstream: Upstream) -> FakeProvider:
        self.bound += 1
        return self

    async def call(self, call: ModelCall) -> Answer:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        self.answers.append(FakeAnswer(self.pieces, self.outcome, stream=call.stream))
        return self.answers[-1]

    async def close(self) -> None:
        return None

    @property
    def sent(self) -> dict[str, Any]:
        return {name: json.loads(bytes(raw)) for name, raw in self.calls[-1].fields.items()}


class FakeReply:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.recorded_before_end: bool | None = None
        self.exchange: Exchange | None = None

    async def whole(self, status, headers, body) -> None:
        await self.begin(status, headers)
        await self.end(body)

    async def begin(self, status, headers) -> None:
        self.status, self.headers = status, dict(headers)

    async def write(self, piece) -> None:
        self.pieces.append(piece)

    async def end(self, piece) -> None:
        assert self.exchange is not None
        self.recorded_before_end = self.exchange.recorded
        self.pieces.append(piece)

    @property
    def json(self) -> Any:
        return json.loads(b"".join(self.pieces))

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]


class Bench:
    def __init__(self, table: RouteTable | None = None) -> None:
        self.provider = FakeProvider()
        self.records: list[Exchange] = []
        self.pipeline = Pipeline(
            {"openai": self.provider}, record=self.records.append, clock=SystemClock(), stages=(Readiness(),)
        )
        self.compiled = self.pipeline.install(table or g.make_table("http://127.0.0.1:1/v1"))

    async def ask(
        self, body: Any, *, key: str = g.KEY, kind: str = "chat", headers: dict[bytes, bytes] | None = None
    ) -> FakeReply:
        given = {b"authorization": f"Bearer {key}".encode(), **(headers or {})}
        exchange = Exchange(OPERATION[kind], given, time.time_ns())
        reply = FakeReply()
        reply.exchange = exchange
        try:
            self.pipeline.authenticate(exchange)
        except TetradError as error:
            await self.pipeline.refuse(exchange, error, reply)
            return reply
        exchange.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.pipeline.serve(exchange, reply)
        return reply

    async def chat(self, model: str, messages: Any = None, **fields: Any) -> FakeReply:
        return await self.ask({"model": model, "messages": messages or [{"role": "user", "content": "hi"}], **fields})
