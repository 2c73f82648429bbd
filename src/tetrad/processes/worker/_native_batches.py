"""Batches that their provider's own batch API does: rendered, submitted, looked after, and their answers settled.

Everything that must outlast this process is with control before the next step is taken: that the batch is about to be
submitted, then its id at the provider. One that was submitted and whose id nobody heard is looked for before it is
submitted anew, since its provider would ask money for both.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import datetime
from threading import Event
from typing import IO, Any

import httpx
import msgspec

from tetrad.batches import BatchError, Carriage, LineAnswer, Work, WorkLine
from tetrad.kit.jobs import JobCutOff
from tetrad.processes.worker._batch_control import Callers, Control
from tetrad.serving import RenderedLine

log = logging.getLogger(__name__)
_DESK = "/v1/tetrad-batches"
_STEP, _SETTLED = "x-tetrad-batch-step", "x-tetrad-batch-line"
_PAGE = 100
_FIRST_POLL_S = 0.5
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_POST_BYTES = 8 * 2**20
_LOOKS, _LOOK_PAUSE_S = 3, 1.0
"""So often a lost batch is looked for: lists of providers may lag behind."""
_SKEW_S = 300
"""How far a provider's clock may be from ours."""
_LIST_PAGES = 50
_GRACE_S = 3600
"""So long after its end a batch's provider may take to end it."""
_ATTEMPTS = 5
_MODELS = 100
"""So many different values of `model` a batch's lines may have to be handed over."""
_PATHS = {
    "openai": ("/chat/completions", "/responses", "/embeddings", "/completions", "/moderations"),
    "anthropic": ("/messages",),
}
_ENDED = {"openai": ("completed", "failed", "expired", "cancelled"), "anthropic": ("ended",)}
_STATUS = {"invalid_request_error": 400, "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429}
_work = msgspec.json.Decoder(Work)
_lines = msgspec.json.Decoder(list[WorkLine])
_rendered = msgspec.json.Decoder(RenderedLine)
_piece = 256 * 1024


class _Refused(Exception):
    """The provider says that it does not take a request; it did nothing."""


class _Calls(Exception):
    """Why a batch's lines must be calls."""


class _Changed(_Calls):
    """What the lines name was changed meanwhile."""


class _Stopped(Exception):
    """Nothing more can be done of the batch; control's `problem`, or its end, says why."""


class _Result(msgspec.Struct, frozen=True):
    custom_id: str = ""
    response: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    result: dict[str, msgspec.Raw] | None = None


class _Response(msgspec.Struct, frozen=True):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"null")


class _OpenAIResult(msgspec.Struct, frozen=True):
    custom_id: str = ""
    response: _Response | None = None
    error: dict[str, Any] | None = None


class _MessageResult(msgspec.Struct, frozen=True):
    custom_id: str = ""
    result: dict[str, msgspec.Raw] = {}


class Native:
    """One batch on its way through its provider, where it has one that does batches."""

    def __init__(self, callers: Callers, stopping: Event, control: Control, gateway: httpx.AsyncClient) -> None:
        self._callers = callers
        self._stopping = stopping
        self._control = control
        self._gateway = gateway
        self._work = Work("", "openai", "in_progress", 0, 0, 0)

    async def run(self) -> BatchError | None:
        """Hand the batch over, wait for its end and settle its answers; again, it goes on where it was.

        Returns why it had to stop. Where its lines are calls nothing was done of them.
        """
        await self._look()
        if not self._work.carriage.batch and not self._may_begin():
            return self._work.problem
        if self._work.carriage.way == "calls":
            return None
        try:
            if not self._work.carriage.batch:
                await self._submit()
            if not self.handed_over:
                return self._work.problem
            said = await self._wait()
            if said is None:
                return self._work.problem
            await self._collect(said)
            await self._forget(said)
        except _Calls as why:
            await self._carry(Carriage(way="calls", why=str(why)[:500]))
        except _Stopped as why:
            log.warning("the batch %s cannot go on: %s", self._work.id, why)
        return self._work.problem

    @property
    def handed_over(self) -> bool:
        """Whether the provider has the batch."""
        return self._work.carriage.way == "native" and bool(self._work.carriage.batch)

    def _may_begin(self) -> bool:
        work = self._work
        return work.status == "in_progress" and work.problem is None and time.time() < work.expires_s

    @property
    def _adapter(self) -> str:
        return self._work.carriage.adapter

    @property
    def _lists(self) -> str:
        return "/batches" if self._adapter == "openai" else "/messages/batches"

    # the way there

    async def _submit(self) -> None:
        known = self._work.carriage
        if known.way == "native":  # a worker was killed: the batch may be there already
            found = await self._find()
            if found:
                await self._carry(msgspec.structs.replace(known, batch=found))
                return
        with tempfile.TemporaryFile() as draft:
            try:
                wanted, path = await self._render(draft)
            except _Changed:
                draft.seek(0)
                draft.truncate()
                wanted, path = await self._render(draft)
            await self._carry(msgspec.structs.replace(wanted, began_s=known.began_s or int(time.time())))
            if self._work.carriage.way != "native" or not self._may_begin():
                return
            batch = await self._sent(draft, path)
        await self._carry(msgspec.structs.replace(self._work.carriage, batch=batch))

    async def _render(self, draft: IO[bytes]) -> tuple[Carriage, str]:
        """Write what is to be sent of each line; raises `_Calls` at the first that its provider cannot do."""
        carriage: Carriage | None = None
        facts: dict[str, msgspec.Raw] = {}
        holds: dict[tuple[str, str], int] = {}
        path, after = "", -1
        while page := _lines.decode(await self._control.ask("GET", f"/lines?after={after}&limit={_PAGE}")):
            for start in range(0, len(page), self._callers.concurrency):
                some = page[start : start + self._callers.concurrency]
                some = some[:1] if carriage is None else some
                rest = [] if carriage is not None else page[start + 1 : start + self._callers.concurrency]
                for group in (some, rest):
                    found = await asyncio.gather(*(self._rendered(line) for line in group))
                    for line, each in zip(group, found, strict=True):
                        carriage, path = self._agreed(carriage, path, each)
                        self._note(facts, line, each)
                        for rule, instance, amount in each.holds:
                            holds[rule, instance] = holds.get((rule, instance), 0) + amount
                        draft.write(self._line(line.number, path, each.body) + b"\n")
            after = page[-1].number
        if carriage is None:
            raise _Calls("no line is left")
        summed = [(rule, instance, amount) for (rule, instance), amount in sorted(holds.items())]
        return msgspec.structs.replace(carriage, facts=facts, holds=summed), path

    @staticmethod
    def _agreed(carriage: Carriage | None, path: str, line: RenderedLine) -> tuple[Carriage, str]:
        if line.calls:
            raise _Calls(line.calls)
        if line.path not in _PATHS.get(line.adapter, ()):
            raise _Calls(f"batches of {line.upstream!r} do not do {line.path}")
        if carriage is None:
            carriage = Carriage(
                way="native",
                provider=line.upstream,
                adapter=line.adapter,
                model=line.facts.model,
                upstream_model=line.upstream_model,
            )
            return carriage, line.path
        if line.upstream != carriage.provider:
            raise _Calls("its lines go to more than one provider")
        if line.path != path or (carriage.adapter == "openai" and line.upstream_model != carriage.upstream_model):
            raise _Calls("its lines go to more than one model, and the provider's batches are of one")
        return carriage, path

    @staticmethod
    def _note(facts: dict[str, msgspec.Raw], line: WorkLine, rendered: RenderedLine) -> None:
        name = _model_of(line)
        said = msgspec.Raw(msgspec.json.encode(rendered.facts))
        known = facts.setdefault(name, said)
        if bytes(known) != bytes(said):
            raise _Changed(f"{name!r} changed while the batch was prepared")
        if len(facts) > _MODELS:
            raise _Calls(f"its lines name more than {_MODELS} models")

    def _line(self, number: int, path: str, body: msgspec.Raw) -> bytes:
        identity = f"{self._work.id}-{number}"
        if path == "/messages":
            return msgspec.json.encode({"custom_id": identity, "params": body})
        return msgspec.json.encode({"custom_id": identity, "method": "POST", "url": "/v1" + path, "body": body})

    async def _rendered(self, line: WorkLine) -> RenderedLine:
        answer = await self._asked(line.url, "render", bytes(line.body))
        if answer.status_code != 200:
            raise _Calls(f"line {line.number + 1} cannot be prepared: {_message(answer)}")
        return _rendered.decode(answer.content)

    async def _sent(self, draft: IO[bytes], path: str) -> str:
        """Submit what was rendered, and return the batch's id; raises `_Calls` where the provider does not take it."""
        pause_s = _PAUSE_S
        for attempt in range(_ATTEMPTS):
            if attempt and (found := await self._find()):
                return found
            draft.seek(0)
            try:
                made = await (
                    self._sent_openai(draft, path) if self._adapter == "openai" else self._sent_messages(draft)
                )
                return str(made["id"])
            except _Refused as refused:
                raise _Calls(f"the provider does not take the batch: {refused}") from None
            except (httpx.TransportError, OSError, KeyError, msgspec.MsgspecError) as error:
                log.warning("whether the batch %s was submitted is not known: %s", self._work.id, error)
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        if found := await self._find():
            return found
        raise _Calls("the provider could not be reached")

    async def _sent_openai(self, draft: IO[bytes], path: str) -> dict[str, Any]:
        name = f"tetrad-{self._work.id}.jsonl"
        file = await self._told(
            "POST", "/files", files={"file": (name, draft, "application/jsonl")}, data={"purpose": "batch"}
        )
        wanted = {
            "input_file_id": file["id"],
            "endpoint": "/v1" + path,
            "completion_window": "24h",
            "metadata": {"tetrad_batch": self._work.id},
        }
        return await self._told("POST", "/batches", json=wanted)

    async def _sent_messages(self, draft: IO[bytes]) -> dict[str, Any]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b'{"requests":['
            for number, line in enumerate(draft):
                yield (b"," if number else b"") + line.rstrip(b"\n")
            yield b"]}"

        return await self._told(
            "POST", "/messages/batches", content=pieces(), headers={"content-type": "application/json"}
        )

    async def _find(self) -> str:
        """Return the id of a batch that was submitted and of which nobody heard; empty where there is none."""
        for look in range(_LOOKS):
            if look:
                await self._pause(_LOOK_PAUSE_S)
            found = await self._found()
            if found:
                return found
        return ""

    async def _found(self) -> str:
        since, after = self._work.carriage.began_s - _SKEW_S, ""
        for _ in range(_LIST_PAGES):
            name = "after" if self._adapter == "openai" else "after_id"
            page = await self._surely("GET", f"{self._lists}?limit=100" + (f"&{name}={after}" if after else ""))
            for each in page.get("data", []):
                if _made_s(each) < since:
                    return ""
                if await self._is_ours(each):
                    return str(each["id"])
            if not page.get("has_more") or not page.get("data"):
                return ""
            after = str(page["data"][-1]["id"])
        return ""

    async def _is_ours(self, listed: dict[str, Any]) -> bool:
        """Tell whether a listed batch is this one: by its metadata, or where there is none by its results."""
        if self._adapter == "openai":
            return (listed.get("metadata") or {}).get("tetrad_batch") == self._work.id
        counts = listed.get("request_counts") or {}
        if sum(value for value in counts.values() if isinstance(value, int)) != self._work.total:
            return False
        pause_s = _FIRST_POLL_S
        while listed.get("processing_status") != "ended":  # only its results say whose it is
            await self._pause(pause_s)
            pause_s = min(pause_s * 1.5, self._callers.poll_s)
            listed = await self._surely("GET", f"{self._lists}/{listed['id']}")
        with tempfile.TemporaryFile() as draft:
            await self._fetched(f"{self._lists}/{listed['id']}/results", draft, most=self._callers.line_bytes)
            draft.seek(0)
            first = draft.readline(self._callers.line_bytes)
        return f'"{self._work.id}-'.encode() in first

    # the way back

    async def _wait(self) -> dict[str, Any] | None:
        """Return the batch as its provider tells it at its end; None where it is not to be waited for any more."""
        pause_s, cancelled, gone = _FIRST_POLL_S, False, 0
        while True:
            await self._look()
            if self._work.problem is not None and not self._work.secret:
                log.warning(
                    "the batch %s goes on as %s at %r, and its key is gone: nobody looks after it any more",
                    self._work.id, self._work.carriage.batch, self._work.carriage.provider,
                )  # fmt: skip
                return None
            late = time.time() >= self._work.expires_s
            path = f"{self._lists}/{self._work.carriage.batch}"
            try:
                if (late or self._work.status == "cancelling") and not cancelled:
                    await self._told("POST", f"{path}/cancel")
                    cancelled = True
                said = await self._told("GET", path)
                gone = 0
                if said.get("status", said.get("processing_status")) in _ENDED[self._adapter]:
                    return said
            except _Refused as refused:
                cancelled, gone = True, gone + 1  # what has ended cannot be cancelled
                log.warning("the batch %s: its provider says %s", self._work.id, refused)
                if gone >= _ATTEMPTS:
                    return {"status": "lost", "why": str(refused)}
            except (httpx.TransportError, OSError, msgspec.MsgspecError) as error:
                log.warning("the batch %s cannot be looked at: %s", self._work.id, error)
            if time.time() >= self._work.expires_s + _GRACE_S:
                return {"status": "expired"}
            await self._pause(pause_s)
            pause_s = min(pause_s * 1.5, self._callers.poll_s)

    async def _collect(self, said: dict[str, Any]) -> None:
        files = self._result_files(said)
        if said.get("status") == "failed" and not files:
            errors = (said.get("errors") or {}).get("data") or [{}]
            raise _Calls(f"the provider refused the batch: {str(errors[0].get('message', ''))[:300]}")
        with tempfile.TemporaryFile() as draft:
            for path in files:
                await self._fetched(path, draft)
                draft.seek(0, os.SEEK_END)
            places = self._places(draft)
            await self._settle_all(draft, places, said)

    async def _forget(self, said: dict[str, Any]) -> None:
        """Delete the files of a batch at its provider, which counts what it keeps; the answers are ours."""
        names = [said.get(kind) for kind in ("input_file_id", "output_file_id", "error_file_id")]
        for name in names if self._adapter == "openai" else ():
            if isinstance(name, str) and name:
                try:
                    await self._told("DELETE", f"/files/{name}")
                except (_Refused, httpx.TransportError, OSError, msgspec.MsgspecError) as error:
                    log.warning("the file %s of the batch %s stays at its provider: %s", name, self._work.id, error)

    def _result_files(self, said: dict[str, Any]) -> list[str]:
        if self._adapter == "anthropic":
            return [f"{self._lists}/{self._work.carriage.batch}/results"] if said.get("results_url") else []
        names = (said.get("output_file_id"), said.get("error_file_id"))
        return [f"/files/{name}/content" for name in names if isinstance(name, str) and name]

    def _places(self, draft: IO[bytes]) -> dict[int, tuple[int, int]]:
        """Return where the result of each line stands: the first of it; what is of no line is left out."""
        found: dict[int, tuple[int, int]] = {}
        strange, prefix = 0, f"{self._work.id}-"
        draft.seek(0)
        start = 0
        for line in draft:
            if line.strip():
                try:
                    name = msgspec.json.decode(line, type=_Result).custom_id
                except (msgspec.MsgspecError, RecursionError):
                    name = ""
                text = name.removeprefix(prefix)
                if name.startswith(prefix) and text.isdecimal() and len(text) < 10 and int(text) not in found:
                    found[int(text)] = start, len(line)
                else:
                    strange += 1
            start += len(line)
        if strange:
            log.warning(
                "the batch %s: %d results are of no line of it, told twice or unreadable", self._work.id, strange
            )
        return found

    async def _settle_all(self, draft: IO[bytes], places: dict[int, tuple[int, int]], said: dict[str, Any]) -> None:
        after = -1
        whole = said.get("status", "completed") in ("completed", "lost", "failed") and not _cut_off(said)
        while page := _lines.decode(await self._control.ask("GET", f"/lines?after={after}&limit={_PAGE}")):
            after = page[-1].number
            for start in range(0, len(page), self._callers.concurrency):
                some = page[start : start + self._callers.concurrency]
                raws = []
                for line in some:
                    place = places.get(line.number)
                    if place is not None:
                        draft.seek(place[0])
                    raws.append(None if place is None else draft.read(place[1]))
                found = await asyncio.gather(
                    *(self._settled(line, raw, whole, said) for line, raw in zip(some, raws, strict=True))
                )
                await self._report([each for each in found if each is not None])

    async def _settled(self, line: WorkLine, raw: bytes | None, whole: bool, said: dict[str, Any]) -> LineAnswer | None:
        """Return what becomes of a line; None where its batch was cut off before it."""
        if raw is None:
            if not whole:
                return None
            why = f": {said['why']}" if "why" in said else ""
            return LineAnswer(
                line.number, code="batch_result_missing", message=f"the provider gave no result for this request{why}"
            )
        if len(raw) > self._callers.line_bytes:
            told = f"the answer has more than {self._callers.line_bytes:,} bytes"
            return LineAnswer(line.number, code="answer_too_large", message=told)
        try:
            status, body, code, message = self._read(raw)
        except (msgspec.MsgspecError, RecursionError) as error:
            return LineAnswer(line.number, code="answer_unreadable", message=f"the result cannot be read: {error}")
        if code in ("batch_expired", "batch_cancelled"):
            return None
        if code:
            return LineAnswer(line.number, code=code[:100], message=message[:1000])
        facts = self._work.carriage.facts.get(_model_of(line), msgspec.Raw(b'{"model":""}'))
        envelope = {
            "batch": self._work.id, "number": line.number, "facts": facts, "body": line.body,
            "status": status, "answer": body,
        }  # fmt: skip
        answer = await self._asked(line.url, "settle", msgspec.json.encode(envelope))
        trace = answer.headers.get("x-tetrad-trace-id", "")
        if _SETTLED not in answer.headers:
            told = f"the provider answered, and the answer could not be taken in: {_message(answer)}"
            return LineAnswer(line.number, request_id=trace, code="answer_not_settled", message=told)
        return LineAnswer(line.number, answer.status_code, trace, msgspec.Raw(answer.content))

    def _read(self, raw: bytes) -> tuple[int, msgspec.Raw, str, str]:
        """Return status and body of a result, or the code and message of one that was not made."""
        nothing = msgspec.Raw(b"null")
        if self._adapter == "openai":
            found = msgspec.json.decode(raw, type=_OpenAIResult)
            if found.response is not None and found.response.status_code:
                return found.response.status_code, found.response.body, "", ""
            error = found.error or {}
            code = str(error.get("code") or "batch_result_empty")
            return 0, nothing, code, str(error.get("message") or "the provider's result says nothing")
        result = msgspec.json.decode(raw, type=_MessageResult).result
        kind = msgspec.json.decode(result.get("type", b'""'), type=str)
        if kind == "succeeded" and "message" in result:
            return 200, result["message"], "", ""
        if kind == "errored" and "error" in result:
            body = result["error"]
            told = msgspec.json.decode(body, type=dict[str, Any]).get("error")
            return _STATUS.get(told.get("type", "") if isinstance(told, dict) else "", 500), body, "", ""
        ended = {"canceled": "batch_cancelled", "expired": "batch_expired"}
        return 0, nothing, ended.get(kind, "batch_result_empty"), "the provider's result says nothing"

    # whom it asks

    async def _asked(self, url: str, step: str, body: bytes) -> httpx.Response:
        """Do a step of a line at the gateway, waiting for one that is away or busy."""
        pause_s = _PAUSE_S
        while True:
            headers = {**self._login(), "content-type": "application/json", _STEP: step}
            if url == "/v1/messages":
                headers["anthropic-version"] = "2023-06-01"
            try:
                answer = await self._gateway.post(url, content=body, headers=headers)
                if _SETTLED in answer.headers or answer.status_code not in (401, 403, 408, 429, 500, 502, 503, 504):
                    return answer
                if answer.status_code == 403 and self._work.problem is None and step == "render":
                    return answer
                why = _message(answer)
            except httpx.TransportError as error:
                why = type(error).__name__
            await self._look()
            if self._work.problem is not None or (step == "render" and not self._may_begin()):
                raise _Stopped(why)
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _told(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """Return what the provider says.

        Raises `_Refused` where it will not, and `OSError` or `httpx.TransportError` where it may be asked again.
        """
        headers = {**self._login(), **more.pop("headers", {})}
        answer = await self._gateway.request(method, _DESK + path, headers=headers, **more)
        if answer.is_success:
            return msgspec.json.decode(answer.content, type=dict[str, Any])
        status = answer.headers.get("x-tetrad-upstream-status", "")
        if status and 400 <= int(status) < 500 and int(status) not in (401, 403, 408, 409, 429):
            raise _Refused(_message(answer))
        raise OSError(f"{answer.status_code}: {_message(answer)}")

    async def _surely(self, method: str, path: str) -> dict[str, Any]:
        """Ask until there is an answer: without it nobody knows whether money was spent."""
        pause_s = _PAUSE_S
        while True:
            try:
                return await self._told(method, path)
            except (_Refused, httpx.TransportError, OSError, msgspec.MsgspecError) as error:
                log.warning("the batch %s: its provider cannot be asked: %s", self._work.id, error)
            await self._look()
            if not self._work.secret or time.time() >= self._work.expires_s + _GRACE_S:
                raise _Stopped("the provider cannot be asked")
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _fetched(self, path: str, draft: IO[bytes], *, most: int = 0) -> None:
        """Write a file of the provider's behind what is there; with `most` its first bytes are enough."""
        pause_s, start = _PAUSE_S, draft.tell()
        while True:
            draft.seek(start)
            draft.truncate()
            try:
                async with self._gateway.stream("GET", _DESK + path, headers=self._login()) as answer:
                    if not answer.is_success:
                        await answer.aread()
                        raise OSError(f"{answer.status_code}: {_message(answer)}")
                    async for piece in answer.aiter_bytes(_piece):
                        draft.write(piece)
                        if most and draft.tell() - start >= most:
                            return
                if draft.tell() > start:
                    draft.write(b"\n")  # the last line of a file may have no end
                return
            except (httpx.TransportError, OSError) as error:
                log.warning("the results of the batch %s cannot be had: %s", self._work.id, error)
            await self._look()
            if not self._work.secret or time.time() >= self._work.expires_s + _GRACE_S:
                return
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _login(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._work.secret}", "x-tetrad-model": self._work.carriage.model}

    async def _look(self) -> None:
        self._work = _work.decode(await self._control.ask("GET"))

    async def _carry(self, carriage: Carriage) -> None:
        self._work = _work.decode(await self._control.ask("POST", "/carriage", msgspec.json.encode(carriage)))

    async def _report(self, answers: list[LineAnswer]) -> None:
        while answers:
            size = count = 0
            for each in answers:
                size += len(bytes(each.body))
                if count and size > _POST_BYTES:
                    break
                count += 1
            await self._control.ask("POST", "/answers", msgspec.json.encode({"answers": answers[:count]}))
            del answers[:count]

    async def _pause(self, seconds: float) -> None:
        """Wait; raises `JobCutOff` where the worker stops meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._stopping.is_set():
                raise JobCutOff("the worker stops")
            await asyncio.sleep(min(left, 0.2))
        if self._stopping.is_set():
            raise JobCutOff("the worker stops")


def _model_of(line: WorkLine) -> str:
    found = msgspec.json.decode(line.body, type=dict[str, msgspec.Raw]).get("model", b'""')
    try:
        return msgspec.json.decode(found, type=str)[:500]
    except msgspec.MsgspecError:
        return ""


def _made_s(listed: dict[str, Any]) -> float:
    made = listed.get("created_at", 0)
    if isinstance(made, str):
        try:
            return datetime.fromisoformat(made).timestamp()
        except ValueError:
            return time.time()
    return float(made)


def _cut_off(said: dict[str, Any]) -> bool:
    counts = said.get("request_counts") or {}
    return bool(counts.get("canceled") or counts.get("expired"))


def _message(answer: httpx.Response) -> str:
    try:
        error = msgspec.json.decode(answer.content, type=dict[str, Any]).get("error")
    except msgspec.MsgspecError:
        return f"{answer.status_code}: {answer.text[:200]}"
    said = error.get("message", "") if isinstance(error, dict) else error
    return f"{answer.status_code}: {str(said)[:300]}"
