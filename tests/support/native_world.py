"""A worker's way with its provider's batches, without processes: control is the real service, all others are told here.

Faults are numbered by the requests that the worker makes: at each it may die, or the other side may, before or after it
did what was asked. Time passes only where the worker pauses.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, Literal

import httpx
import msgspec
import pytest

from support.batching import NoJobs, OneKey, make_batches
from support.limits import MemoryStore, rule
from tetrad.batches import Batch, BatchError, Carriage, LineAnswer
from tetrad.kernel import FixedClock
from tetrad.kit.db import Database
from tetrad.limits._keeper import LeaseKeeper
from tetrad.processes.control._batching import BudgetHolds
from tetrad.processes.worker import _batch_control, _batches, _native_back, _native_desk, _native_there
from tetrad.processes.worker._batch_control import Callers, Control
from tetrad.processes.worker._batches import _Run
from tetrad.processes.worker._native_batches import Native
from tetrad.serving import LineFacts, RenderedLine

Fault = Literal["worker before", "worker after", "other before", "other after"]
LINES = 5
BUDGET = rule("money", 1)


class Died(BaseException):
    """The worker was killed."""


class World:
    """One batch. `faults` say what happens at which of the worker's requests.

    `hidden`: the provider lists no batches. `answers` are statuses that it answers submissions with, doing nothing.
    """

    def __init__(self, database: Database, folder: Path, protocol: str = "openai", *, insists: bool = False) -> None:
        self.protocol, self.insists = protocol, insists
        self.faults: dict[int, Fault] = {}
        self.asked = 0
        self.clock = FixedClock()
        self.store = MemoryStore(BUDGET)
        self.keeper = LeaseKeeper(self.store, self.clock)
        self.keys = OneKey()
        self.batches = make_batches(
            database, folder, NoJobs(), self.keys, clock=self.clock,
            holds=BudgetHolds(partial(self.keeper.sync, works=False)),
        )  # fmt: skip
        self.made: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.hidden = False
        self.answers: list[int] = []
        self.ends = True
        self.calls: Counter[int] = Counter()
        self.settled: Counter[int] = Counter()
        self.batch = self._begun()

    def _begun(self) -> Batch:
        lines = [
            {"custom_id": f"c{n}", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": n}}
            for n in range(LINES)
        ]
        with self.batches.draft() as draft:
            draft.write(b"\n".join(json.dumps(line).encode() for line in lines))
            file = self.batches.keep_file("default", "in.jsonl", "batch", draft)
        batch = self.batches.create("default", "key_1", file.id, "/v1/embeddings", "48h")
        self.batches.validate(batch.id)
        return batch

    def run(self, doubt_s: float = 3600.0) -> Batch:
        """Do the batch as workers do, again after each death, and return it as it ended."""
        callers = Callers("http://control", "token", "http://gateway", 2, 10_000, 600.0, None, doubt_s)
        for _ in range(len(self.faults) + 1):
            try:
                problem = asyncio.run(self._worked(callers))
            except Died:
                continue
            return self.batches.finish(self.batch.id, problem)
        raise AssertionError("the worker died more often than it was killed")

    async def _worked(self, callers: Callers) -> BatchError | None:
        stopping = Event()
        control = Control(callers, stopping, self.batch.id)
        control._http = httpx.AsyncClient(transport=httpx.MockTransport(self._control), base_url="http://control")
        served = httpx.MockTransport(self._gateway)
        async with httpx.AsyncClient(transport=served, base_url="http://gateway") as gateway:
            problem = await Native(callers, stopping, control, gateway).run()
            return problem or await _Run(callers, stopping, control, gateway).run()

    @property
    def spent(self) -> tuple[int, int]:
        """What the budget counts as spent, and what is held of it."""
        found = list(self.store.book.values())
        held = sum(each[3].open for each in self.store.open.values())
        return sum(each.spent for each in found), held

    def pass_s(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @property
    def now_s(self) -> float:
        return self.clock.now().timestamp()

    # faults

    def _at(self, do: Any, request: httpx.Request) -> httpx.Response:
        fault, self.asked = self.faults.get(self.asked, ""), self.asked + 1
        if fault == "worker before":
            raise Died
        if fault == "other before":
            raise httpx.ConnectError("killed", request=request)
        answer = do(request)
        if fault == "worker after":
            raise Died
        if fault == "other after":
            raise httpx.ReadError("killed", request=request)
        return answer

    def _control(self, request: httpx.Request) -> httpx.Response:
        return self._at(self._controlled, request)

    def _gateway(self, request: httpx.Request) -> httpx.Response:
        return self._at(self._served, request)

    # the others

    def _controlled(self, request: httpx.Request) -> httpx.Response:
        step, body, found = request.url.path.rpartition("/")[2], request.content, self.batches
        if step == "lines":
            said: Any = found.lines(self.batch.id, int(request.url.params["after"]), 2)
        elif step == "answers":
            given = msgspec.json.decode(body, type=dict[str, list[LineAnswer]])["answers"]
            said = found.answer(self.batch.id, given)
        elif step == "carriage":
            said = found.carry(self.batch.id, msgspec.json.decode(body, type=Carriage))
        else:
            said = found.work(self.batch.id)
        return httpx.Response(200, content=msgspec.json.encode(said))

    def _served(self, request: httpx.Request) -> httpx.Response:
        step = request.headers.get("x-tetrad-batch-step", "")
        if request.url.path.startswith("/v1/tetrad-batches/"):
            return self._provided(request, request.url.path.removeprefix("/v1/tetrad-batches"))
        body = json.loads(request.content)
        if step == "render":
            path = "/messages" if self.protocol == "anthropic" else "/embeddings"
            line = RenderedLine(
                "", path, msgspec.Raw(request.content), "p", self.protocol, "m", LineFacts("m"),
                [(BUDGET.id, "key_1", 1000)], self.insists,
            )  # fmt: skip
            return httpx.Response(200, content=msgspec.json.encode(line))
        if step == "settle":
            self.settled[body["number"]] += 1
            spent = json.dumps([[BUDGET.id, "key_1", self.cost_of(body["number"]), 0]])
            return httpx.Response(
                200, json={}, headers={"x-tetrad-batch-line": "settled", "x-tetrad-batch-spent": spent}
            )
        self.calls[body["input"]] += 1
        return httpx.Response(200, json={})

    @staticmethod
    def cost_of(number: int) -> int:
        return 100 + number

    def _provided(self, request: httpx.Request, path: str) -> httpx.Response:
        method, lists = request.method, "/messages/batches" if self.protocol == "anthropic" else "/batches"
        if (method, path) == ("POST", "/files"):
            name = f"file-{len(self.files)}"
            self.files[name] = request.read()
            return _said({"id": name})
        if method == "DELETE":
            self.files.pop(path.split("/")[2], None)
            return _said({})
        if (method, path) == ("POST", lists):
            if self.answers:
                return _said({"error": {"message": "no"}}, self.answers.pop(0))
            self.made.append({"id": f"b{len(self.made)}", "at": self.now_s, "cancelled": False, **_wanted(request)})
            return _said(self._shown(self.made[-1]))
        if path == lists:
            return _said({"data": [] if self.hidden else [self._shown(each) for each in self.made[::-1]]})
        if path.endswith(("/content", "/results")):
            return httpx.Response(200, content=b"\n".join(self._results()))
        found = next(each for each in self.made if each["id"] == path.removeprefix(lists).split("/")[1])
        if path.endswith("/cancel") and self.ends:
            return _said({"error": {"message": "it has ended"}}, 409 if self.protocol == "openai" else 400)
        found["cancelled"] |= path.endswith("/cancel")
        return _said(self._shown(found))

    def _shown(self, made: dict[str, Any]) -> dict[str, Any]:
        ended = self.ends or made["cancelled"]
        if self.protocol == "anthropic":
            return {
                "id": made["id"], "processing_status": "ended" if ended else "in_progress",
                "created_at": self.clock.now().isoformat(), "request_counts": {"succeeded": LINES},
                "results_url": "http://elsewhere",
            }  # fmt: skip
        return {
            "id": made["id"], "status": "cancelled" if made["cancelled"] else "completed" if ended else "in_progress",
            "created_at": int(made["at"]), "metadata": made["metadata"], "input_file_id": made["input_file_id"],
            "output_file_id": "output",
        }  # fmt: skip

    def _results(self) -> Iterator[bytes]:
        for number in range(LINES if not self.made[0]["cancelled"] else 2):
            named = {"custom_id": f"{self.batch.id}-{number}"}
            if self.protocol == "anthropic":
                yield json.dumps({**named, "result": {"type": "succeeded", "message": {}}}).encode()
            else:
                yield json.dumps({**named, "response": {"status_code": 200, "body": {}}}).encode()


def _wanted(request: httpx.Request) -> dict[str, Any]:
    wanted = json.loads(request.read())
    return {"metadata": wanted.get("metadata"), "input_file_id": wanted.get("input_file_id")}


def _said(body: dict[str, Any], status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=body, headers={"x-tetrad-upstream-status": str(status)})


@contextmanager
def time_of(worlds: list[World]) -> Iterator[None]:
    """Let time pass in the newest of the worlds, and nowhere else."""

    class Time:
        @staticmethod
        def time() -> float:
            return worlds[-1].now_s

        @staticmethod
        def monotonic() -> float:
            return worlds[-1].clock.monotonic()

    async def pause(_desk: Any, seconds: float) -> None:
        worlds[-1].pass_s(seconds)
        await asyncio.sleep(0)

    with pytest.MonkeyPatch.context() as patch:
        for module in (_native_desk, _native_there, _native_back):
            patch.setattr(module, "time", Time)
        patch.setattr(_batches, "time", Time)
        patch.setattr(_native_desk.Desk, "pause", pause)
        for module in (_batch_control, _batches):
            patch.setattr(module, "_PAUSE_S", 0.0)
            patch.setattr(module, "_LONGEST_PAUSE_S", 0.0)
        yield
