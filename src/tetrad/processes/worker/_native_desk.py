"""Whom a batch that its provider does is spoken of with: control, the gateway, and through that the provider."""

from __future__ import annotations

import asyncio
import logging
import time
from threading import Event
from typing import IO, Any

import httpx
import msgspec

from tetrad.batches import Carriage, LineAnswer, Work, WorkLine
from tetrad.kit.jobs import JobCutOff
from tetrad.processes.worker._batch_control import Callers, Control

log = logging.getLogger(__name__)
_DESK = "/v1/tetrad-batches"
_STEP = "x-tetrad-batch-step"
SETTLED, SPENT = "x-tetrad-batch-line", "x-tetrad-batch-spent"
PAGE = 100
PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
GRACE_S = 3600
"""So long after its end a batch's provider may take to end it."""
ATTEMPTS = 5
_POST_BYTES = 8 * 2**20
_PIECE = 256 * 1024
_LATER = frozenset((401, 403, 409, 429, 503, 529))
"""With these a provider says that it did nothing, and may be asked again."""
_UNKNOWN = frozenset(("upstream_timeout", "upstream_broken", "upstream_lost"))
"""The gateway's codes of calls whose request may have come to the provider."""
_work = msgspec.json.Decoder(Work)
_lines = msgspec.json.Decoder(list[WorkLine])


class Refused(Exception):
    """The provider says that it does not take a request; it did nothing."""


class NotDone(OSError):
    """The provider did nothing, and may be asked again."""


class Failed(OSError):
    """The provider says that it failed."""


class Stopped(Exception):
    """Nothing more can be done of the batch; control's `problem`, or its end, says why."""


UNREACHED = (httpx.TransportError, OSError, msgspec.MsgspecError)
"""What `Desk.told` raises where nobody knows what the provider did."""


class Desk:
    """One batch's errands. `work` is what control said of it last."""

    def __init__(self, callers: Callers, stopping: Event, control: Control, gateway: httpx.AsyncClient) -> None:
        self.callers = callers
        self.work = Work("", "openai", "in_progress", 0, 0, 0)
        self._stopping = stopping
        self._control = control
        self._gateway = gateway

    @property
    def carriage(self) -> Carriage:
        """How the batch is done."""
        return self.work.carriage

    @property
    def may_begin(self) -> bool:
        """Whether anything of the batch may still be begun."""
        work = self.work
        return work.status == "in_progress" and work.problem is None and time.time() < work.expires_s

    @property
    def watched(self) -> bool:
        """Whether the provider can still be asked about the batch."""
        return bool(self.work.secret) and time.time() < self.work.expires_s + GRACE_S

    @property
    def lists(self) -> str:
        """The path of the provider's batches."""
        return "/batches" if self.carriage.adapter == "openai" else "/messages/batches"

    # control

    async def look(self) -> None:
        """Ask control how the batch stands."""
        self.work = _work.decode(await self._control.ask("GET"))

    async def carry(self, carriage: Carriage) -> None:
        """Have control remember how the batch is done, before the next step is taken."""
        self.work = _work.decode(await self._control.ask("POST", "/carriage", msgspec.json.encode(carriage)))

    async def note(self, **changes: Any) -> None:
        """Have control remember a change of how the batch is done."""
        await self.carry(msgspec.structs.replace(self.carriage, holds=None, **changes))

    async def page(self, after: int) -> list[WorkLine]:
        """Return lines behind `after` that have no answer."""
        return _lines.decode(await self._control.ask("GET", f"/lines?after={after}&limit={PAGE}"))

    async def report(self, answers: list[LineAnswer]) -> None:
        """Have control keep answers."""
        while answers:
            size = count = 0
            for each in answers:
                size += len(bytes(each.body))
                if count and size > _POST_BYTES:
                    break
                count += 1
            await self._control.ask("POST", "/answers", msgspec.json.encode({"answers": answers[:count]}))
            del answers[:count]

    # the gateway

    async def asked(self, url: str, step: str, body: bytes) -> httpx.Response:
        """Do a step of a line at the gateway, waiting for one that is away or busy."""
        pause_s = PAUSE_S
        while True:
            headers = {**self._login(), "content-type": "application/json", _STEP: step}
            if url == "/v1/messages":
                headers["anthropic-version"] = "2023-06-01"
            try:
                answer = await self._gateway.post(url, content=body, headers=headers)
                if SETTLED in answer.headers or answer.status_code not in (401, 403, 408, 429, 500, 502, 503, 504):
                    return answer
                if answer.status_code == 403 and self.work.problem is None and step == "render":
                    return answer
                why = message_of(answer)
            except httpx.TransportError as error:
                why = type(error).__name__
            await self.look()
            if not (self.may_begin if step == "render" else self.watched):
                raise Stopped(why)
            await self.pause(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    # the provider

    async def told(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """Return what the provider says.

        Raises `Refused` where it will not, `NotDone` where it did nothing, `Failed` where it says that it failed, and
        others of `UNREACHED` where nobody knows what it did.
        """
        headers = {**self._login(), **more.pop("headers", {})}
        try:
            answer = await self._gateway.request(method, _DESK + path, headers=headers, **more)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise NotDone(f"the gateway does not answer ({type(error).__name__})") from None
        if answer.is_success:
            return msgspec.json.decode(answer.content, type=dict[str, Any])
        why = message_of(answer)
        said = answer.headers.get("x-tetrad-upstream-status", "")
        status = int(said) if said.isdecimal() else 0
        if status in _LATER or (not status and answer.status_code != 500 and code_of(answer) not in _UNKNOWN):
            raise NotDone(why)
        if status == 500:
            raise Failed(why)
        if 400 <= status < 500 and status != 408:
            raise Refused(why)
        raise OSError(why)

    async def surely(self, method: str, path: str) -> dict[str, Any]:
        """Ask until there is an answer: without it nobody knows whether money was spent."""
        pause_s, tries = PAUSE_S, 0
        while True:
            try:
                return await self.told(method, path)
            except (Refused, *UNREACHED) as error:
                log.warning("the batch %s: its provider cannot be asked: %s", self.work.id, error)
            tries += 1
            await self.look()
            if not self.watched or (tries >= ATTEMPTS and not self.may_begin):
                raise Stopped("the provider cannot be asked")
            await self.pause(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def fetched(self, path: str, draft: IO[bytes], *, most: int = 0) -> None:
        """Write a file of the provider's behind what is there; with `most` its first bytes are enough."""
        pause_s, start = PAUSE_S, draft.tell()
        while True:
            draft.seek(start)
            draft.truncate()
            try:
                async with self._gateway.stream("GET", _DESK + path, headers=self._login()) as answer:
                    if not answer.is_success:
                        await answer.aread()
                        raise OSError(message_of(answer))
                    async for piece in answer.aiter_bytes(_PIECE):
                        draft.write(piece)
                        if most and draft.tell() - start >= most:
                            return
                if draft.tell() > start:
                    draft.write(b"\n")  # the last line of a file may have no end
                return
            except (httpx.TransportError, OSError) as error:
                log.warning("the results of the batch %s cannot be had: %s", self.work.id, error)
            await self.look()
            if not self.watched:
                return
            await self.pause(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def drop_file(self, name: str) -> None:
        """Delete a file at the provider, which counts what it keeps; one that it does not delete stays there."""
        try:
            await self.told("DELETE", f"/files/{name}")
        except (Refused, *UNREACHED) as error:
            log.warning("the file %s of the batch %s stays at its provider: %s", name, self.work.id, error)

    def _login(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.work.secret}", "x-tetrad-model": self.carriage.model}

    async def pause(self, seconds: float) -> None:
        """Wait; raises `JobCutOff` where the worker stops meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._stopping.is_set():
                raise JobCutOff("the worker stops")
            await asyncio.sleep(min(left, 0.2))
        if self._stopping.is_set():
            raise JobCutOff("the worker stops")


def message_of(answer: httpx.Response) -> str:
    """Return the status and the words of an error."""
    error = _error(answer)
    if error is None:
        return f"{answer.status_code}: {answer.text[:200]}"
    said = error.get("message", "") if isinstance(error, dict) else error
    return f"{answer.status_code}: {str(said)[:300]}"


def code_of(answer: httpx.Response) -> str:
    """Return the code of an error; empty where it has none."""
    error = _error(answer)
    return str(error.get("code", "")) if isinstance(error, dict) else ""


def _error(answer: httpx.Response) -> Any:
    try:
        return msgspec.json.decode(answer.content, type=dict[str, Any]).get("error")
    except msgspec.MsgspecError:
        return None
