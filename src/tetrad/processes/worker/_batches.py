"""The job that does a batch: its lines are called through a gateway, and each answer is with control before it counts.

Control knows which lines have an answer. A worker that is killed takes up what is left: no line that was answered is
called again but those whose answer was on its way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Event
from typing import Any

import httpx
import msgspec

from tetrad.batches import BatchError, LineAnswer, Work, WorkLine
from tetrad.kit.jobs import JobCutOff, RunningJob
from tetrad.kit.trust import believed
from tetrad.processes.worker._batch_control import Callers, Control, WorkGone
from tetrad.processes.worker._native_batches import Native

_LOOK_S = 2.0
"""So often control is asked whether the batch is to go on."""
_CALL_S = 900.0
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_LAST_S = 5.0
"""What is under way when the worker stops may end within this time."""
_PAGE = 200
_TURN_S = 0.5
_POST_BYTES = 8 * 2**20
_TRIES = 3
"""So often a line is called that a gateway or an upstream failed."""
_FAILED = frozenset((500, 502, 503, 504, 529))
_KEY_CODES = frozenset(("invalid_api_key", "expired_api_key", "missing_scope"))
_work = msgspec.json.Decoder(Work)
_lines = msgspec.json.Decoder(list[WorkLine])


class RunBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which batch, by its id."""

    id: str


class TendBatches(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to say."""


def run_batch(job: RunningJob, payload: RunBatch) -> dict[str, Any]:
    """Do a batch of requests: check its input, call its lines, write its results."""
    callers, stopping = job.services["batches"], job.services["stopping"]
    try:
        job.step("validate", _validate, callers, stopping, payload.id)
        problem = job.step("answer", _answer, callers, stopping, payload.id)
        return dict(job.step("finish", _finish, callers, stopping, payload.id, problem))
    except WorkGone:
        return {"id": payload.id, "status": "gone"}


def _validate(callers: Callers, stopping: Event, batch: str) -> str:
    async def validate() -> str:
        async with Control(callers, stopping, batch) as control:
            return _work.decode(await control.ask("POST", "/validate")).status

    return asyncio.run(validate())


def _answer(callers: Callers, stopping: Event, batch: str) -> dict[str, Any] | None:
    async def by_its_provider() -> tuple[BatchError | None, bool]:
        async with Control(callers, stopping, batch) as control, _gateway(callers) as gateway:
            native = Native(callers, stopping, control, gateway)
            return await native.run(), native.handed_over

    async def by_calls() -> BatchError | None:
        async with Control(callers, stopping, batch) as control, _gateway(callers) as gateway:
            return await _Run(callers, stopping, control, gateway).run()

    problem, handed_over = asyncio.run(by_its_provider())
    if problem is None:
        with nullcontext() if handed_over else _turn(callers, stopping):
            problem = asyncio.run(by_calls())
    return None if problem is None else msgspec.to_builtins(problem)


def _gateway(callers: Callers) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=callers.gateway_url,
        verify=believed(callers.gateway_url),
        timeout=httpx.Timeout(_CALL_S, connect=5.0),
        limits=httpx.Limits(max_connections=callers.concurrency),
        trust_env=False,
    )


@contextmanager
def _turn(callers: Callers, stopping: Event) -> Iterator[None]:
    """Wait until one of the batches whose lines are calls may begin; raises `JobCutOff` where the worker stops."""
    turns = callers.turns
    while turns is not None and not turns.acquire(timeout=_TURN_S):
        if stopping.is_set():
            raise JobCutOff("the worker stops")
    try:
        yield
    finally:
        if turns is not None:
            turns.release()


def _finish(callers: Callers, stopping: Event, batch: str, problem: dict[str, Any] | None) -> dict[str, Any]:
    async def finish() -> dict[str, Any]:
        async with Control(callers, stopping, batch) as control:
            done = await control.ask("POST", "/finish", msgspec.json.encode({"problem": problem}))
            found = msgspec.json.decode(done, type=dict[str, Any])
            return {"id": batch, "status": found["status"], **found["request_counts"]}

    return asyncio.run(finish())


class _Run:
    """The lines of one batch, so many at a time."""

    def __init__(self, callers: Callers, stopping: Event, control: Control, gateway: httpx.AsyncClient) -> None:
        self._callers = callers
        self._stopping = stopping
        self._control = control
        self._gateway = gateway
        self._halted = asyncio.Event()
        self._work = Work("", "openai", "in_progress", 0, 0, 0)
        self._lines: deque[WorkLine] = deque()
        self._after = -1
        self._more = True
        self._looked = 0.0

    async def run(self) -> BatchError | None:
        """Call what nobody has answered; return why it had to stop, None where it is done, cancelled or too late."""
        await self._look()
        under_way: set[asyncio.Task[LineAnswer | None]] = set()
        try:
            while True:
                await self._fill(under_way)
                if not under_way:
                    break
                done, under_way = await asyncio.wait(under_way, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                await self._report([answer for task in done if (answer := task.result()) is not None])
                if self._stopping.is_set():
                    await self._stop(under_way)
                if time.monotonic() - self._looked >= _LOOK_S:
                    await self._look()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        if self._stopping.is_set() and not self._halted.is_set() and (self._more or self._lines):
            raise JobCutOff("the worker stops")
        return self._work.problem

    async def _fill(self, under_way: set[asyncio.Task[LineAnswer | None]]) -> None:
        while len(under_way) < self._callers.concurrency and not self._halted.is_set() and not self._stopping.is_set():
            if not self._lines and self._more:
                page = _lines.decode(await self._control.ask("GET", f"/lines?after={self._after}&limit={_PAGE}"))
                self._lines.extend(page)
                self._more = bool(page)
                self._after = page[-1].number if page else self._after
            if not self._lines:
                return
            under_way.add(asyncio.create_task(self._line(self._lines.popleft())))

    async def _stop(self, under_way: set[asyncio.Task[LineAnswer | None]]) -> None:
        """Let what is under way end, for a moment, and keep what came of it."""
        self._halted.set()
        done: set[asyncio.Task[LineAnswer | None]] = set()
        if under_way:
            done, _ = await asyncio.wait(under_way, timeout=_LAST_S)
        await self._report([answer for task in done if (answer := task.result()) is not None])
        raise JobCutOff("the worker stops")

    async def _report(self, answers: list[LineAnswer]) -> None:
        while answers:
            size, count = 0, 0
            for each in answers:
                size += len(bytes(each.body))
                if count and size > _POST_BYTES:
                    break
                count += 1
            body = msgspec.json.encode({"answers": answers[:count]})
            self._note(_work.decode(await self._control.ask("POST", "/answers", body)))
            del answers[:count]

    async def _look(self) -> None:
        self._note(_work.decode(await self._control.ask("GET")))

    def _note(self, work: Work) -> None:
        self._work = work
        self._looked = time.monotonic()
        if work.status != "in_progress" or work.problem is not None or time.time() >= work.expires_s:
            self._halted.set()

    async def _line(self, line: WorkLine) -> LineAnswer | None:
        """Call a line until there is an answer to keep; None where the batch stops before."""
        pause_s, tries = _PAUSE_S, 0
        while not self._halted.is_set():
            try:
                status, headers, body = await self._call(line)
            except httpx.TransportError:
                await self._wait(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            if status in (401, 403) and code_of(body) in _KEY_CODES:
                await self._look()  # a new key takes gateways a moment; control tells where it is gone for good
                await self._wait(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            wait_s = seconds_of(headers.get("retry-after", ""))
            if status == 429 and self._in_time(wait_s):
                await self._wait(max(1.0, wait_s))
                continue
            if status in _FAILED and (tries := tries + 1) < _TRIES and self._in_time(wait_s):
                await self._wait(max(pause_s, wait_s))
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            return self._answered(line, status, headers, body)
        return None

    async def _call(self, line: WorkLine) -> tuple[int, httpx.Headers, bytes | None]:
        headers = {
            "authorization": f"Bearer {self._work.secret}",
            "content-type": "application/json",
            "x-tetrad-priority": "batch",
        }
        if self._work.protocol == "anthropic":
            headers["anthropic-version"] = "2023-06-01"
        async with self._gateway.stream("POST", line.url, content=bytes(line.body), headers=headers) as response:
            pieces, size = [], 0
            async for piece in response.aiter_bytes():
                size += len(piece)
                if size > self._callers.line_bytes:
                    return response.status_code, response.headers, None
                pieces.append(piece)
            return response.status_code, response.headers, b"".join(pieces)

    def _answered(self, line: WorkLine, status: int, headers: httpx.Headers, body: bytes | None) -> LineAnswer:
        trace = headers.get("x-tetrad-trace-id", "")
        if body is None:
            said = f"the answer has more than {self._callers.line_bytes:,} bytes"
            return LineAnswer(line.number, request_id=trace, code="answer_too_large", message=said)
        try:
            msgspec.json.decode(body)
        except (msgspec.MsgspecError, RecursionError):
            said = f"the answer ({status}) is no JSON: {body[:200].decode('utf-8', 'replace')}"
            return LineAnswer(line.number, request_id=trace, code="answer_unreadable", message=said)
        return LineAnswer(line.number, status, trace, msgspec.Raw(body))

    def _in_time(self, wait_s: float) -> bool:
        return time.time() + wait_s < self._work.expires_s

    async def _wait(self, seconds: float) -> None:
        """Wait, but no longer than the batch goes on."""
        try:
            async with asyncio.timeout(seconds):
                await self._halted.wait()
        except TimeoutError:
            return


def code_of(body: bytes | None) -> str:
    try:
        found = msgspec.json.decode(body or b"", type=dict[str, Any]).get("error")
    except msgspec.MsgspecError:
        return ""
    return str(found.get("code", "")) if isinstance(found, dict) else ""


def seconds_of(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 10.0**9)
    except ValueError:
        return 0.0
