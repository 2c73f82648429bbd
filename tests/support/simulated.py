"""A pipeline over scripted models in virtual time."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import msgspec

from support import gateway as g
from support.virtual_time import VirtualClock, run_virtually
from tetrad.kernel import TetradError, Usage
from tetrad.serving import (
    CHAT,
    Exchange,
    ModelEntry,
    ModelRoute,
    Pipeline,
    Price,
    Readiness,
    Upstream,
)
from tetrad.serving.ports import Answer, ModelCall, Outcome


def word(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
DONE = b"data: [DONE]\n\n"


@dataclass
class Act:
    """What a model does when it is called: wait, then answer, refuse, or raise."""

    wait_s: float = 0.0
    status: int = 200
    code: str = ""
    message: str = ""
    error: Exception | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    finish_reasons: tuple[str, ...] = ()
    pieces: list[bytes | Exception | float] | None = None
    """Of a stream; a number is a pause."""


class ScriptedAnswer:
    def __init__(self, act: Act, name: str, *, stream: bool) -> None:
        self.status, self.headers = act.status, list(act.headers)
        self.stream = stream and act.status < 400
        self.done, self.received_ns, self.dropped = not self.stream, time.time_ns(), ()
        default: list[bytes | Exception | float] = [ROLE, word(name), DONE]
        self._pieces = list(act.pieces if act.pieces is not None else default)
        self._name = name
        self._reasons = act.finish_reasons
        self._error = (act.code or f"http_{act.status}", act.message) if act.status >= 400 else ("", "")
        self.closed = 0

    async def read(self) -> bytes:
        if not self.stream:
            return json.dumps({"model": self._name, "status": self.status}).encode()
        while True:
            piece = self._pieces.pop(0)
            if isinstance(piece, float):
                await asyncio.sleep(piece)
                continue
            if isinstance(piece, Exception):
                raise piece
            self.done = not self._pieces
            if b'"error"' in piece:
                self._error = ("server_error", "in the stream")
            return piece

    def outcome(self) -> Outcome:
        usage = Usage(input=1, output=1)
        return Outcome(
            usage=usage, finish_reasons=self._reasons, error_type=self._error[0], error_message=self._error[1]
        )

    def close(self) -> None:
        self.closed += 1


class ScriptedProvider:
    """Models by name; each call takes the next act of its model, the last one again and again."""

    def __init__(self) -> None:
        self.acts: dict[str, list[Act]] = {}
        self.calls: list[tuple[str, str]] = []
        """(model, secret) of every call."""
        self.cancelled: list[str] = []
        self.answers: list[ScriptedAnswer] = []

    def endpoint(self, upstream: Upstream) -> _Endpoint:
        return _Endpoint(self, upstream)

    async def close(self) -> None:
        return None


class _Endpoint:
    def __init__(self, provider: ScriptedProvider, upstream: Upstream) -> None:
        self._provider = provider
        self._upstream = upstream

    async def call(self, call: ModelCall) -> Answer:
        provider = self._provider
        name = json.loads(bytes(call.fields["model"]))
        provider.calls.append((name, self._upstream.secret))
        acts = provider.acts.get(f"{name}#{self._upstream.secret}") or provider.acts.get(name) or [Act()]
        act = acts.pop(0) if len(acts) > 1 else acts[0]
        try:
            if act.wait_s:
                await asyncio.sleep(act.wait_s)
        except asyncio.CancelledError:
            provider.cancelled.append(name)
            raise
        if act.error is not None:
            raise act.error
        answer = ScriptedAnswer(act, name, stream=call.stream)
        provider.answers.append(answer)
        return answer


class SimReply:
    def __init__(self, at: Callable[[], float]) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.pieces: list[bytes] = []
        self.begun_at = 0.0
        self._at = at

    async def whole(self, status: int, headers: Any, body: bytes) -> None:
        await self.begin(status, headers)
        await self.end(body)

    async def begin(self, status: int, headers: Any) -> None:
        assert not self.status, "an answer began twice"
        self.status, self.headers, self.begun_at = status, dict(headers), self._at()

    async def write(self, piece: bytes) -> None:
        self.pieces.append(piece)

    async def end(self, piece: bytes) -> None:
        self.pieces.append(piece)

    @property
    def text(self) -> str:
        return b"".join(self.pieces).decode()

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Simulation:
    """Models `p/a`, `p/b`, `p/c`… of the upstream `p`, and one route `smart`."""

    def __init__(self, *targets: Any, table: dict[str, Any] | None = None, models: str = "abcdef", **spec: Any) -> None:
        self.clock = VirtualClock()
        self.provider = ScriptedProvider()
        self.records: list[Exchange] = []
        self.pipeline = Pipeline(
            {"openai": self.provider},
            record=self.records.append,
            clock=self.clock,
            stages=(Readiness(),),
            rng=random.Random(7),
            region="here",
        )
        self.upstream: dict[str, Any] = {}
        self.models = models
        self.prices: dict[str, Price] = {}
        self.routes: list[ModelRoute] = []
        if targets:
            self.route(*targets, **spec)

    def route(self, *targets: Any, name: str = "smart", **spec: Any) -> None:
        given = tuple({"model": f"p/{each}"} if isinstance(each, str) else each for each in targets)
        route = msgspec.convert({"name": name, "project": "default", "targets": given, **spec}, ModelRoute)
        self.routes = [each for each in self.routes if each.name != name] + [route]
        self.install()

    def install(self) -> None:
        base = g.make_table("http://127.0.0.1:1/v1")
        models = {f"p/{name}": ModelEntry(f"p/{name}", "p", name, price=self.prices.get(name)) for name in self.models}
        models["p/vectors"] = ModelEntry("p/vectors", "p", "vectors", ("embeddings",))
        table = msgspec.structs.replace(
            base,
            models={**base.models, **models},
            upstreams={**base.upstreams, "p": Upstream("p", "http://127.0.0.1:1/v1", **self.upstream)},
            routes={f"{route.project}/{route.name}": route for route in self.routes},
        )
        self.compiled = self.pipeline.install(table)

    @property
    def called(self) -> list[str]:
        return [name for name, _ in self.provider.calls]

    async def ask(
        self,
        model: str = "smart",
        *,
        stream: bool = False,
        headers: dict[bytes, bytes] | None = None,
        reply: SimReply | None = None,
        **fields: Any,
    ) -> SimReply:
        given = {b"authorization": f"Bearer {g.KEY}".encode(), **(headers or {})}
        exchange = Exchange(CHAT, given, self.clock.now_ns())
        reply = reply or SimReply(self.clock.monotonic)
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream, **fields}
        exchange.body = json.dumps(body).encode()
        try:
            self.pipeline.authenticate(exchange)
            await self.pipeline.serve(exchange, reply)
        except TetradError as error:
            await self.pipeline.refuse(exchange, error, reply)
        return reply

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return run_virtually(self.clock, work)

    def one(self, model: str = "smart", **options: Any) -> SimReply:
        reply: SimReply = self.run(self.ask(model, **options))
        return reply

    @property
    def reasons(self) -> list[str]:
        return [made.reason for made in self.records[-1].attempts]


__all__ = ["DONE", "ROLE", "Act", "Simulation", "word"]
