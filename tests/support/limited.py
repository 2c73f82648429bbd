"""A gateway worker's pipeline with limits in force, over an upstream that answers when a test lets it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from support import gateway as g
from support.limits import LocalKeeper
from tetrad.kernel import SystemClock, TetradError, Usage
from tetrad.limits import Gate, LimitLayer
from tetrad.processes.gateway._limits import Leases
from tetrad.serving import CHAT, Exchange, LimitRule, Pipeline, Readiness
from tetrad.serving.ports import Answer, ModelCall, Outcome


class SlowAnswer:
    """An answer whose pieces come when the test lets them."""

    def __init__(self, call: ModelCall, upstream: Upstream) -> None:
        self.status, self.stream, self.done = upstream.status, call.stream, False
        self.headers = [(b"x-ratelimit-limit-requests", b"99999"), (b"x-of-the-upstream", b"abc")]
        self.received_ns, self.dropped = time.time_ns(), ()
        self._upstream = upstream
        self._left = 2 if call.stream else 1
        self._read = 0

    async def read(self) -> bytes:
        await self._upstream.going.wait()
        self._read += 1
        if self._read == 2 and self._upstream.hangs:
            await asyncio.Event().wait()
        self.done = self._read >= self._left
        return b"{}"

    def outcome(self) -> Outcome:
        if self.done:
            return Outcome(usage=self._upstream.usage, output=b'["whole"]')
        return Outcome(output=b"x" * 300)

    def close(self) -> None:
        return None


class Upstream:
    def __init__(self) -> None:
        self.calls = 0
        self.going = asyncio.Event()
        self.going.set()
        self.hangs = False
        self.status = 200
        self.error: TetradError | None = None
        self.usage: Usage | None = Usage(input=10, output=20)

    def endpoint(self, _: object) -> Upstream:
        return self

    async def call(self, call: ModelCall) -> Answer:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return SlowAnswer(call, self)

    async def rendered(self, _: ModelCall) -> tuple[str, bytes]:
        return "/chat/completions", b"{}"

    async def answered(self, call: ModelCall, status: int, body: bytes) -> Answer:
        self.status = status
        if body == b'"torn"':
            raise TetradError("the answer cannot be read")
        return SlowAnswer(call, self)

    async def close(self) -> None:
        return None


class Reply:
    def __init__(self) -> None:
        self.status, self.headers, self.body, self.begun = 0, {}, b"", asyncio.Event()

    async def whole(self, status: int, headers: Any, body: bytes) -> None:
        await self.begin(status, headers)
        self.body = body

    async def begin(self, status: int, headers: Any) -> None:
        self.status, self.headers = status, {name.decode(): value.decode() for name, value in headers}
        self.begun.set()

    async def write(self, piece: bytes) -> None:
        self.body += piece

    async def end(self, piece: bytes) -> None:
        self.body += piece

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["error"]["message"])


class Worker:
    """A worker's pipeline and its leases, over a keeper that several may share."""

    def __init__(self, folder: Path, keeper: LocalKeeper, change: Callable[[Any], Any] = lambda table: table) -> None:
        self.upstream, self.keeper = Upstream(), keeper
        self.leases = Leases(folder, keeper, SystemClock())
        self.records: list[Exchange] = []
        gate = Gate(lambda _: self.leases.pockets, SystemClock(), wake=self.leases.wake, wait_s=5.0, assumed_output=100)
        self.pipeline = Pipeline(
            {"openai": self.upstream}, record=self.records.append, clock=SystemClock(), stages=(Readiness(),),
            layers=(LimitLayer(gate),),
        )  # fmt: skip
        limits = tuple(each.rule for each in keeper.store.all.values())
        table = msgspec.structs.replace(g.make_table("http://127.0.0.1:1/v1"), limits=limits)
        self.pipeline.install(change(table))

    async def ask(self, model: str = "local/m1", key: str = g.KEY, operation: Any = CHAT, **fields: Any) -> Reply:
        reply = Reply()
        await self.serve(reply, model, key, operation, **fields)
        return reply

    async def serve(self, reply: Reply, model: str, key: str = g.KEY, operation: Any = CHAT, **fields: Any) -> None:
        exchange = Exchange(operation, {b"authorization": f"Bearer {key}".encode()}, time.time_ns())
        self.pipeline.authenticate(exchange)
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
        exchange.body = json.dumps(body).encode()
        await self.pipeline.serve(exchange, reply)


@asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(worker.leases.run()) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for worker in workers:
            await worker.leases.close(1.0)


def keeper_of(*rules: LimitRule) -> LocalKeeper:
    return LocalKeeper(*rules, clock=SystemClock())
