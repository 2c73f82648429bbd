"""The job that answers a response in the background: its call is made through a gateway, and control keeps the answer.

Control knows whether the response is still to be answered, and counts how often its call was begun. A worker that is
killed in the middle of the call makes it again: what the first one cost is not known. One that has an answer hands it
to control before anything else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from threading import Event
from typing import Any

import httpx
import msgspec

from tetrad.kit.jobs import JobCutOff, RunningJob
from tetrad.kit.trust import believed
from tetrad.processes.worker._background_events import Telling, data_of
from tetrad.processes.worker._batch_control import Callers, Control, WorkGone
from tetrad.processes.worker._batches import code_of, seconds_of
from tetrad.responses import BackgroundAnswer, BackgroundWork
from tetrad.serving import ANSWERED_BY, BACKGROUND_RELEASE, BACKGROUND_RESPONSE

_UNDER = "/internal/v1/background"
_LOOK_S = 1.0
"""So often control is asked whether the response is still to be answered."""
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_LAST_S = 5.0
"""What is under way when the worker stops may end within this time."""
_TRIES = 3
"""So often a call is made that a gateway or an upstream failed."""
_FAILED = frozenset((500, 502, 503, 504, 529))
_KEY_CODES = frozenset(("invalid_api_key", "expired_api_key", "missing_scope"))
_ENDS = frozenset(("response.completed", "response.incomplete", "response.failed"))
_DROPPED = "x-tetrad-dropped"
_TOO_LARGE = "answer_too_large"
_work = msgspec.json.Decoder(BackgroundWork)


class AnswerResponse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which response, by its project and its id."""

    project: str
    id: str


class TendResponses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to say."""


class _Event(msgspec.Struct, frozen=True):
    type: str = ""
    response: msgspec.Raw = msgspec.Raw(b"null")
    code: str | None = None
    message: str | None = None


class _Error(msgspec.Struct, frozen=True):
    code: str | int | None = None
    type: str | None = None
    message: str | None = None


class _Refusal(msgspec.Struct, frozen=True):
    error: _Error | str | None = None


_event = msgspec.json.Decoder(_Event)
_refusal = msgspec.json.Decoder(_Refusal)


def answer_response(job: RunningJob, payload: AnswerResponse) -> dict[str, Any]:
    """Answer a response in the background."""
    callers, stopping = job.services["responses"], job.services["stopping"]
    return dict(job.step("answer", _answer, callers, stopping, payload.project, payload.id))


def _answer(callers: Callers, stopping: Event, project: str, identity: str) -> dict[str, Any]:
    async def answer() -> str:
        gateway = httpx.AsyncClient(
            base_url=callers.gateway_url,
            verify=believed(callers.gateway_url),
            timeout=httpx.Timeout(None, connect=5.0),  # the response's own deadline ends it
            trust_env=False,
        )
        async with Control(callers, stopping, f"{project}/{identity}", _UNDER) as control, gateway:
            try:
                found = await _Answering(callers, stopping, control, gateway).run()
                await control.ask("POST", "/finish", msgspec.json.encode(found))
            except WorkGone:  # it was cancelled, deleted, or has had its time
                return "over"
            return "answered" if found.answered else "failed"

    return {"id": identity, "outcome": asyncio.run(answer())}


class _Interrupted(Exception):
    """The call was cut off in the middle; whether it was answered nobody knows."""


class _Answering:
    """One response, from its call to its answer."""

    def __init__(self, callers: Callers, stopping: Event, control: Control, gateway: httpx.AsyncClient) -> None:
        self._callers = callers
        self._stopping = stopping
        self._control = control
        self._gateway = gateway
        self._telling = Telling(control)

    async def run(self) -> BackgroundAnswer:
        """Return what is to be told of the response; raises `WorkGone` where nothing is, and `JobCutOff`."""
        calling = asyncio.create_task(self._until_answered())
        looking = asyncio.create_task(self._look())
        telling = asyncio.create_task(self._telling.run())
        tasks: set[asyncio.Task[Any]] = {calling, looking, telling}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not calling.done() and self._stopping.is_set():
                await asyncio.wait({calling}, timeout=_LAST_S)
            if calling.done():
                return calling.result()
            for task in (looking, telling):
                if task.done():
                    task.result()
            raise JobCutOff("the worker stops")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        """Return when the worker stops; raises `WorkGone` when the response is over."""
        looked = time.monotonic()
        while not self._stopping.is_set():
            await asyncio.sleep(_PAUSE_S)
            if time.monotonic() - looked >= _LOOK_S:
                looked = time.monotonic()
                await self._control.ask("GET")

    async def _until_answered(self) -> BackgroundAnswer:
        while True:
            work = _work.decode(await self._control.ask("POST", "/take"))
            self._telling.begin(work.number)
            try:
                found = await self._called(work)
                await self._telling.told()
                return found
            except _Interrupted:
                await self._telling.told()  # what was said by then was said
                await asyncio.sleep(_PAUSE_S)

    async def _called(self, work: BackgroundWork) -> BackgroundAnswer:
        """Call until there is an answer; what nobody took is sent again, what was cut off raises `_Interrupted`."""
        pause_s, tries = _PAUSE_S, 0
        while True:
            wait_s = 0.0
            try:
                status, headers, body = await self._sent(work)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                status = 0
            except httpx.TransportError as error:
                raise _Interrupted from error
            if status:
                found = _read(status, headers, body)
                wait_s = seconds_of(headers.get("retry-after", ""))
                in_time = time.time() + wait_s < work.deadline_s
                if status == 429 and in_time:
                    wait_s = max(1.0, wait_s)
                elif status in (401, 403) and code_of(body) in _KEY_CODES:
                    await self._control.ask("GET")  # a new key takes gateways a moment; is it gone for good?
                elif status not in _FAILED or not in_time or (tries := tries + 1) >= _TRIES:
                    return found
            await asyncio.sleep(max(pause_s, wait_s))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _sent(self, work: BackgroundWork) -> tuple[int, httpx.Headers, bytes | None]:
        headers = {name.encode("latin-1"): value.encode("latin-1") for name, value in work.headers.items()}
        headers[b"authorization"] = f"Bearer {work.secret}".encode()
        headers[b"content-type"] = b"application/json"
        headers[BACKGROUND_RESPONSE] = work.id.encode()
        if work.release:
            headers[BACKGROUND_RELEASE] = work.release.encode()
        content = bytes(work.body)
        if work.stream:
            content = msgspec.json.encode({**msgspec.json.decode(content, type=dict[str, msgspec.Raw]), "stream": True})
        async with self._gateway.stream("POST", "/v1/responses", content=content, headers=headers) as response:
            pieces, size = [], 0
            async for piece in response.aiter_bytes():
                size += len(piece)
                if size > self._most(response):
                    return response.status_code, response.headers, None
                pieces.append(piece)
                if work.events and response.status_code == 200 and _streamed(response.headers):
                    self._telling.put(piece)
            return response.status_code, response.headers, b"".join(pieces)

    def _most(self, response: httpx.Response) -> int:
        """Return how many bytes are read: a stream says everything several times."""
        return self._callers.line_bytes * (8 if _streamed(response.headers) else 1)


def _streamed(headers: httpx.Headers) -> bool:
    return str(headers.get("content-type", "")).startswith("text/event-stream")


def _read(status: int, headers: httpx.Headers, body: bytes | None) -> BackgroundAnswer:
    """Return what an answer of a gateway means for the response."""
    if body is None:
        return BackgroundAnswer(code=_TOO_LARGE, message="the answer has more bytes than are kept of a response")
    upstream, dropped = headers.get(ANSWERED_BY.decode(), ""), headers.get(_DROPPED, "")
    if status >= 400:
        return _failed(status, body)
    if _streamed(headers):
        return _last(body, upstream, dropped)
    try:
        msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return BackgroundAnswer(code="answer_unreadable", message=f"the answer ({status}) is no JSON")
    return BackgroundAnswer(msgspec.Raw(body), upstream, dropped=dropped)


def _last(stream: bytes, upstream: str, dropped: str) -> BackgroundAnswer:
    """Return what a stream came to."""
    for event in _events(stream):
        if event.type in _ENDS:
            return BackgroundAnswer(event.response, upstream, dropped=dropped)
        if event.type == "error":
            return BackgroundAnswer(code=event.code or "server_error", message=event.message or "the answer broke off")
    return BackgroundAnswer(code="stream_truncated", message="the answer broke off before its end")


def _events(stream: bytes) -> Iterator[_Event]:
    for block in stream.replace(b"\r\n", b"\n").split(b"\n\n"):
        try:
            yield _event.decode(data_of(block))
        except (msgspec.MsgspecError, RecursionError):
            continue


def _failed(status: int, body: bytes) -> BackgroundAnswer:
    try:
        error = _refusal.decode(body).error
    except (msgspec.MsgspecError, RecursionError):
        error = None
    if isinstance(error, str):
        return BackgroundAnswer(code="server_error", message=error)
    error = error or _Error()
    code = error.code if isinstance(error.code, str) and error.code else error.type
    said = error.message or f"the call was answered with {status}"
    return BackgroundAnswer(code=code or "server_error", message=said)
