"""The way there: a batch's lines are rendered and handed to its provider, once.

Before it is submitted control knows that it will be; afterwards control knows its id. Whoever finds that it was
submitted and no id looks for it, and never submits it anew: its provider would ask money for both.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO, Any

import msgspec

from tetrad.batches import Carriage, LineAnswer, WorkLine
from tetrad.processes.worker._native_desk import (
    ATTEMPTS,
    LONGEST_PAUSE_S,
    PAUSE_S,
    UNREACHED,
    Desk,
    Failed,
    NotDone,
    Refused,
    message_of,
)
from tetrad.serving import RenderedLine

log = logging.getLogger(__name__)
FIRST_POLL_S = 0.5
_LOOKS, _LOOK_PAUSE_S = 3, 1.0
"""So often a lost batch is looked for where there is no time to wait for it: lists of providers may lag behind."""
_SKEW_S = 300
"""How far a provider's clock may be from ours."""
_LIST_PAGES = 50
_MODELS = 100
"""So many different values of `model` a batch's lines may have to be handed over."""
_PATHS = {
    "openai": ("/chat/completions", "/responses", "/embeddings", "/completions", "/moderations"),
    "anthropic": ("/messages",),
}
_rendered = msgspec.json.Decoder(RenderedLine)


class Calls(Exception):
    """Why a batch's lines must be calls."""


class _Changed(Calls):
    """What the lines name was changed meanwhile."""


class There:
    """One batch on its way to its provider."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._others: set[str] = set()
        """Batches of the provider's that are known to be others."""

    async def go(self) -> None:
        """See to it that the provider has the batch, and control its id there; raises `Calls`.

        Nothing of it is begun where the batch is to stop; what was begun before is still looked for.
        """
        desk = self._desk
        if desk.carriage.way == "native" and desk.carriage.asked_s:  # a worker was killed: it may be there already
            await self._arrived(await self._in_doubt())
            return
        if not desk.may_begin:
            return
        began_s, file = desk.carriage.began_s, desk.carriage.file
        if file:  # its lines are rendered anew
            await desk.drop_file(file)
        with tempfile.TemporaryFile() as draft:
            try:
                wanted, path = await self._render(draft)
            except _Changed:
                draft.seek(0)
                draft.truncate()
                wanted, path = await self._render(draft)
            await desk.carry(msgspec.structs.replace(wanted, began_s=began_s or int(time.time())))
            if desk.carriage.way == "native" and desk.may_begin:
                await self._arrived(await self._sent(draft, path))

    async def _arrived(self, batch: str) -> None:
        if batch:
            await self._desk.note(batch=batch, asked_s=0)

    # rendering

    async def _render(self, draft: IO[bytes]) -> tuple[Carriage, str]:
        """Write what is to be sent of each line; raises `Calls` at the first that its provider cannot do."""
        carriage: Carriage | None = None
        facts: dict[str, msgspec.Raw] = {}
        holds: dict[tuple[str, str], int] = {}
        path, after, at_once = "", -1, self._desk.callers.concurrency
        while page := await self._desk.page(after):
            for start in range(0, len(page), at_once):
                some = page[start : start + at_once]
                some = some[:1] if carriage is None else some
                rest = [] if carriage is not None else page[start + 1 : start + at_once]
                for group in (some, rest):
                    found = await asyncio.gather(*(self._rendered(line) for line in group))
                    for line, each in zip(group, found, strict=True):
                        carriage, path = _agreed(carriage, path, each)
                        _note(facts, line, each)
                        for rule, instance, amount in each.holds:
                            holds[rule, instance] = holds.get((rule, instance), 0) + amount
                        draft.write(self._line(line.number, path, each.body) + b"\n")
            after = page[-1].number
        if carriage is None:
            raise Calls("no line is left")
        summed = [(rule, instance, amount) for (rule, instance), amount in sorted(holds.items())]
        return msgspec.structs.replace(carriage, facts=facts, holds=summed), path

    def _line(self, number: int, path: str, body: msgspec.Raw) -> bytes:
        identity = f"{self._desk.work.id}-{number}"
        if path == "/messages":
            return msgspec.json.encode({"custom_id": identity, "params": body})
        return msgspec.json.encode({"custom_id": identity, "method": "POST", "url": "/v1" + path, "body": body})

    async def _rendered(self, line: WorkLine) -> RenderedLine:
        answer = await self._desk.asked(line.url, "render", bytes(line.body))
        if answer.status_code != 200:
            raise Calls(f"line {line.number + 1} cannot be prepared: {message_of(answer)}")
        return _rendered.decode(answer.content)

    # submitting

    async def _sent(self, draft: IO[bytes], path: str) -> str:
        """Submit what was rendered, and return the batch's id; empty where it was stopped.

        Raises `Calls` where the provider does not take it.
        """
        desk, pause_s, why = self._desk, PAUSE_S, ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await desk.pause(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                await desk.look()
                if not desk.may_begin:
                    return ""
            try:
                wanted = await self._uploaded(draft, path) if desk.carriage.adapter == "openai" else None
                await desk.note(asked_s=int(time.time()))
                return await self._asked_for(draft, wanted)
            except Refused as refused:
                await self._drop_file()
                raise Calls(f"the provider does not take the batch: {refused}") from None
            except NotDone as error:
                why = str(error)
            except Failed as error:
                why = str(error)
                if desk.carriage.asked_s and (found := await self._find()):
                    return found
            except (*UNREACHED, KeyError) as error:
                log.warning("whether the batch %s was submitted is not known: %s", desk.work.id, error)
                if desk.carriage.asked_s:
                    return await self._in_doubt()
                why = str(error)
            await desk.note(asked_s=0)
        await self._drop_file()
        raise Calls(f"the provider could not be reached: {why}")

    async def _uploaded(self, draft: IO[bytes], path: str) -> dict[str, Any]:
        """Return what to ask for, once the lines are with the provider, under a name that control knows."""
        desk = self._desk
        if not desk.carriage.file:
            draft.seek(0)
            name = f"tetrad-{desk.work.id}.jsonl"
            sent = {"file": (name, draft, "application/jsonl")}
            file = await desk.told("POST", "/files", files=sent, data={"purpose": "batch"})
            await desk.note(file=str(file["id"]))
        return {
            "input_file_id": desk.carriage.file,
            "endpoint": "/v1" + path,
            "completion_window": "24h",
            "metadata": {"tetrad_batch": desk.work.id},
        }

    async def _asked_for(self, draft: IO[bytes], wanted: dict[str, Any] | None) -> str:
        if wanted is not None:
            made = await self._desk.told("POST", "/batches", json=wanted)
            return str(made["id"])
        draft.seek(0)

        async def pieces() -> AsyncIterator[bytes]:
            yield b'{"requests":['
            for number, line in enumerate(draft):
                yield (b"," if number else b"") + line.rstrip(b"\n")
            yield b"]}"

        headers = {"content-type": "application/json"}
        made = await self._desk.told("POST", "/messages/batches", content=pieces(), headers=headers)
        return str(made["id"])

    async def _drop_file(self) -> None:
        if self._desk.carriage.file:
            await self._desk.drop_file(self._desk.carriage.file)

    # looking for what was submitted

    async def _in_doubt(self) -> str:
        """Return the id of a batch that may have been submitted; empty where it is to stop and is not there.

        It is looked for as long as `doubt_s` says. Then its lines are calls, which may be paid for twice; or, where
        people said that its provider does all batches, errors.
        """
        desk, pause_s = self._desk, FIRST_POLL_S
        while True:
            await desk.look()
            if not desk.may_begin:
                return await self._find()
            late = time.time() >= desk.carriage.asked_s + desk.callers.doubt_s
            if found := await self._found():
                return found
            if late:
                break
            await desk.pause(pause_s)
            pause_s = min(pause_s * 1.5, desk.callers.poll_s)
        await self._drop_file()  # what has not begun there cannot begin any more
        hours = f"{desk.callers.doubt_s / 3600:g} h"
        why = f"it was submitted, its provider did not say what came of that, and has not listed it for {hours}"
        if not desk.carriage.insists:
            raise Calls(why)
        after = -1
        while page := await desk.page(after):
            after = page[-1].number
            await desk.report(
                [LineAnswer(line.number, code="batch_submission_unknown", message=f"the batch: {why}") for line in page]
            )
        return ""

    async def _find(self) -> str:
        """Return the id of a batch that may have been submitted, by some looks; empty where there is none."""
        for look in range(_LOOKS):
            if look:
                await self._desk.pause(_LOOK_PAUSE_S)
            if found := await self._found():
                return found
        return ""

    async def _found(self) -> str:
        desk, after = self._desk, ""
        since = desk.carriage.began_s - _SKEW_S
        for _ in range(_LIST_PAGES):
            name = "after" if desk.carriage.adapter == "openai" else "after_id"
            page = await desk.surely("GET", f"{desk.lists}?limit=100" + (f"&{name}={after}" if after else ""))
            for each in page.get("data", []):
                if _made_s(each) < since:
                    return ""
                if each["id"] not in self._others and await self._is_ours(each):
                    return str(each["id"])
                self._others.add(each["id"])
            if not page.get("has_more") or not page.get("data"):
                return ""
            after = str(page["data"][-1]["id"])
        return ""

    async def _is_ours(self, listed: dict[str, Any]) -> bool:
        """Tell whether a listed batch is this one: by its metadata or its file, where it has none by its results."""
        desk = self._desk
        if desk.carriage.adapter == "openai":
            if desk.carriage.file and listed.get("input_file_id") == desk.carriage.file:
                return True
            return (listed.get("metadata") or {}).get("tetrad_batch") == desk.work.id
        counts = listed.get("request_counts") or {}
        if sum(value for value in counts.values() if isinstance(value, int)) != desk.work.total:
            return False
        pause_s = FIRST_POLL_S
        while listed.get("processing_status") != "ended":  # only its results say whose it is
            await desk.pause(pause_s)
            pause_s = min(pause_s * 1.5, desk.callers.poll_s)
            listed = await desk.surely("GET", f"{desk.lists}/{listed['id']}")
        with tempfile.TemporaryFile() as draft:
            await desk.fetched(f"{desk.lists}/{listed['id']}/results", draft, most=desk.callers.line_bytes)
            draft.seek(0)
            first = draft.readline(desk.callers.line_bytes)
        return f'"{desk.work.id}-'.encode() in first


def _agreed(carriage: Carriage | None, path: str, line: RenderedLine) -> tuple[Carriage, str]:
    if line.calls:
        raise Calls(line.calls)
    if line.path not in _PATHS.get(line.adapter, ()):
        raise Calls(f"batches of {line.upstream!r} do not do {line.path}")
    if carriage is None:
        carriage = Carriage(
            way="native",
            provider=line.upstream,
            adapter=line.adapter,
            model=line.facts.model,
            upstream_model=line.upstream_model,
            insists=line.insists,
        )
        return carriage, line.path
    if line.upstream != carriage.provider:
        raise Calls("its lines go to more than one provider")
    if line.path != path or (carriage.adapter == "openai" and line.upstream_model != carriage.upstream_model):
        raise Calls("its lines go to more than one model, and the provider's batches are of one")
    return carriage, path


def _note(facts: dict[str, msgspec.Raw], line: WorkLine, rendered: RenderedLine) -> None:
    name = model_of(line)
    said = msgspec.Raw(msgspec.json.encode(rendered.facts))
    known = facts.setdefault(name, said)
    if bytes(known) != bytes(said):
        raise _Changed(f"{name!r} changed while the batch was prepared")
    if len(facts) > _MODELS:
        raise Calls(f"its lines name more than {_MODELS} models")


def model_of(line: WorkLine) -> str:
    """Return what a line names as its model; empty where that is no text."""
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
