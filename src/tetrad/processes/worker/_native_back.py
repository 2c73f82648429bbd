"""The way back: a batch is watched at its provider until it has ended, and each of its answers is settled."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from typing import IO, Any

import msgspec

from tetrad.batches import LineAnswer, WorkLine
from tetrad.processes.worker._native_desk import (
    ATTEMPTS,
    GRACE_S,
    SETTLED,
    SPENT,
    UNREACHED,
    Desk,
    Refused,
    message_of,
)
from tetrad.processes.worker._native_there import FIRST_POLL_S, Calls, model_of

log = logging.getLogger(__name__)
_ENDED = {"openai": ("completed", "failed", "expired", "cancelled"), "anthropic": ("ended",)}
_STATUS = {"invalid_request_error": 400, "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429}
_spent = msgspec.json.Decoder(list[tuple[str, str, int, int]])


class _Result(msgspec.Struct, frozen=True):
    custom_id: str = ""


class _Response(msgspec.Struct, frozen=True):
    status_code: int = 0
    body: msgspec.Raw = msgspec.Raw(b"null")


class _OpenAIResult(msgspec.Struct, frozen=True):
    response: _Response | None = None
    error: dict[str, Any] | None = None


class _MessageResult(msgspec.Struct, frozen=True):
    result: dict[str, msgspec.Raw] = {}


class Back:
    """One batch on its way back from its provider."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def come(self) -> None:
        """Wait for the batch's end, and have control keep what became of its lines; raises `Calls` or `Stopped`.

        One that is to stop (cancelled, past its end, its key gone) is cancelled at its provider, and what was done of
        it until then is settled like everything else: it was paid for.
        """
        said = await self._end()
        if said is None:
            return
        files = self._files(said)
        if said.get("status") == "failed" and not files:
            await self._forget(said)
            errors = (said.get("errors") or {}).get("data") or [{}]
            raise Calls(f"the provider refused the batch: {str(errors[0].get('message', ''))[:300]}")
        with tempfile.TemporaryFile() as draft:
            for path in files:
                await self._desk.fetched(path, draft)
                draft.seek(0, os.SEEK_END)
            await self._settle_all(draft, _places(draft, self._desk.work.id), said)
        await self._forget(said)

    async def _end(self) -> dict[str, Any] | None:
        """Return the batch as its provider tells it at its end; None where it is not to be waited for any more."""
        desk, pause_s, cancelled, gone = self._desk, FIRST_POLL_S, False, 0
        ended = _ENDED[desk.carriage.adapter]
        path = f"{desk.lists}/{desk.carriage.batch}"
        while True:
            await desk.look()
            if not desk.work.secret:
                log.warning("the batch %s (%s) is not looked after any more", desk.work.id, desk.carriage.batch)
                return None
            try:
                if not desk.may_begin and not cancelled:
                    cancelled = await self._cancelled(path)
                said = await desk.told("GET", path)
                gone = 0
                if said.get("status", said.get("processing_status")) in ended:
                    return said
            except Refused as refused:
                gone += 1
                log.warning("the batch %s: its provider says %s", desk.work.id, refused)
                if gone >= ATTEMPTS:
                    return {"status": "lost", "why": str(refused)}
            except UNREACHED as error:
                log.warning("the batch %s cannot be looked at: %s", desk.work.id, error)
            if time.time() >= desk.work.expires_s + GRACE_S:
                return {"status": "expired"}
            await desk.pause(pause_s)
            pause_s = min(pause_s * 1.5, desk.callers.poll_s)

    async def _cancelled(self, path: str) -> bool:
        try:
            await self._desk.told("POST", f"{path}/cancel")
        except Refused as refused:  # what has ended cannot be cancelled
            log.info("the batch %s is not cancelled: %s", self._desk.work.id, refused)
        except UNREACHED as error:  # some say so with 409; how it stands tells
            log.warning("the batch %s cannot be cancelled now: %s", self._desk.work.id, error)
            return False
        return True

    async def _forget(self, said: dict[str, Any]) -> None:
        """Delete the files of a batch at its provider; the answers are ours."""
        if self._desk.carriage.adapter == "openai":
            names = [said.get(kind) for kind in ("input_file_id", "output_file_id", "error_file_id")]
            for name in dict.fromkeys([*names, self._desk.carriage.file]):
                if isinstance(name, str) and name:
                    await self._desk.drop_file(name)

    def _files(self, said: dict[str, Any]) -> list[str]:
        if self._desk.carriage.adapter == "anthropic":
            return [f"{self._desk.lists}/{self._desk.carriage.batch}/results"] if said.get("results_url") else []
        names = (said.get("output_file_id"), said.get("error_file_id"))
        return [f"/files/{name}/content" for name in names if isinstance(name, str) and name]

    # settling

    async def _settle_all(self, draft: IO[bytes], places: dict[int, tuple[int, int]], said: dict[str, Any]) -> None:
        after, at_once = -1, self._desk.callers.concurrency
        whole = said.get("status", "completed") in ("completed", "lost", "failed") and not _cut_off(said)
        while page := await self._desk.page(after):
            after = page[-1].number
            for start in range(0, len(page), at_once):
                some = page[start : start + at_once]
                raws = []
                for line in some:
                    place = places.get(line.number)
                    if place is not None:
                        draft.seek(place[0])
                    raws.append(None if place is None else draft.read(place[1]))
                found = await asyncio.gather(
                    *(self._settled(line, raw, whole, said) for line, raw in zip(some, raws, strict=True))
                )
                await self._desk.report([each for each in found if each is not None])

    async def _settled(self, line: WorkLine, raw: bytes | None, whole: bool, said: dict[str, Any]) -> LineAnswer | None:
        """Return what becomes of a line; None where its batch was cut off before it."""
        desk = self._desk
        if raw is None:
            if not whole:
                return None
            why = f": {said['why']}" if "why" in said else ""
            return LineAnswer(
                line.number, code="batch_result_missing", message=f"the provider gave no result for this request{why}"
            )
        if len(raw) > desk.callers.line_bytes:
            told = f"the answer has more than {desk.callers.line_bytes:,} bytes"
            return LineAnswer(line.number, code="answer_too_large", message=told)
        try:
            status, body, code, message = _read(raw, desk.carriage.adapter)
        except (msgspec.MsgspecError, RecursionError) as error:
            return LineAnswer(line.number, code="answer_unreadable", message=f"the result cannot be read: {error}")
        if code in ("batch_expired", "batch_cancelled"):
            return None
        if code:
            return LineAnswer(line.number, code=code[:100], message=message[:1000])
        facts = desk.carriage.facts.get(model_of(line), msgspec.Raw(b'{"model":""}'))
        envelope = {
            "batch": desk.work.id, "number": line.number, "facts": facts, "body": line.body,
            "status": status, "answer": body,
        }  # fmt: skip
        answer = await desk.asked(line.url, "settle", msgspec.json.encode(envelope))
        trace = answer.headers.get("x-tetrad-trace-id", "")
        spent = _spent.decode(answer.headers.get(SPENT, "[]"))
        if SETTLED not in answer.headers:
            told = f"the provider answered, and the answer could not be taken in: {message_of(answer)}"
            return LineAnswer(line.number, request_id=trace, code="answer_not_settled", message=told, spent=spent)
        return LineAnswer(line.number, answer.status_code, trace, msgspec.Raw(answer.content), spent=spent)


def _places(draft: IO[bytes], batch: str) -> dict[int, tuple[int, int]]:
    """Return where the result of each line stands: the first of it; what is of no line is left out."""
    found: dict[int, tuple[int, int]] = {}
    strange, prefix = 0, f"{batch}-"
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
        log.warning("the batch %s: %d results are of no line of it, told twice or unreadable", batch, strange)
    return found


def _read(raw: bytes, adapter: str) -> tuple[int, msgspec.Raw, str, str]:
    """Return status and body of a result, or the code and message of one that was not made."""
    nothing = msgspec.Raw(b"null")
    if adapter == "openai":
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


def _cut_off(said: dict[str, Any]) -> bool:
    counts = said.get("request_counts") or {}
    return bool(counts.get("canceled") or counts.get("expired"))
