"""Where an answer is looked for: in this worker's memory, then on disk, then in a server that gateways share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec

from tetrad.kernel import Clock
from tetrad.serving._cache_forms import stream_of, whole_of
from tetrad.serving._cache_key import one_form
from tetrad.serving._cache_store import CacheCounts, CachedAnswer, MemoryAnswers, decode_answer, encode_answer
from tetrad.serving.ports import ModelCall, SharedAnswers

log = logging.getLogger(__name__)
QUESTIONS = "questions"
"""What the index of similar questions is called beside the levels of stores."""
_MOST_WRITES = 64
"""Writes to one shared store, or to the index of questions, that may be under way; further ones are left out."""


class Levels:
    """Find and keep answers, the nearest place first; what fails in a shared store is a miss there.

    What is in memory is found without asking any other place. What is found further away is kept in the nearer ones.
    """

    def __init__(
        self, memory: MemoryAnswers, shared: Sequence[SharedAnswers], clock: Clock, counts: CacheCounts
    ) -> None:
        self.memory = memory
        self._shared = tuple(shared)
        self._clock = clock
        self._counts = counts
        counts.found.update(dict.fromkeys((each.level for each in shared), 0))
        counts.dropped.update(dict.fromkeys((*(each.level for each in shared), QUESTIONS), 0))
        self._writes: dict[str, set[asyncio.Task[None]]] = {level: set() for level in counts.dropped}

    async def find(self, key: bytes, call: ModelCall, *, shared: bool) -> tuple[CachedAnswer, str] | None:
        """Return an answer in the form that a call wants, and the level it lay in; `shared` says where it may have."""
        found = self._in_memory(key, call)
        if found is None and shared and self._shared:
            for place, store in enumerate(self._shared):
                distant = await self._fetch(store, key, call)
                if distant is not None:
                    self._bring(distant[0], self._shared[:place])
                    return distant[1], store.level
            found = self._in_memory(key, call)  # an equal call may have ended while we looked
        return None if found is None else (found, "memory")

    def keep(self, entry: CachedAnswer, *, shared: bool) -> None:
        """Keep an answer in memory, and soon in the shared stores where it may lie there."""
        self._counts.stored += 1
        self._bring(entry, self._shared if shared else ())

    def later(self, where: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let something be written while answers go on; it is left out where too much is under way to the same place.

        `where` is a store's level, or `QUESTIONS`: a slow one takes no room from the others.
        """
        under_way = self._writes[where]
        if len(under_way) >= _MOST_WRITES:
            self._counts.dropped[where] += 1
            return
        task = asyncio.create_task(work())
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    async def close(self) -> None:
        """Let the writes under way end."""
        await asyncio.gather(*(task for tasks in self._writes.values() for task in tasks), return_exceptions=True)

    def _in_memory(self, key: bytes, call: ModelCall) -> CachedAnswer | None:
        now_ns = self._clock.now_ns()
        for stream in _forms(call):
            found = self.memory.get(key, stream, now_ns)
            if found is not None and stream != call.stream:
                found = _other_form(found)
            if found is not None:
                return found
        return None

    async def _fetch(
        self, store: SharedAnswers, key: bytes, call: ModelCall
    ) -> tuple[CachedAnswer, CachedAnswer] | None:
        """Return what lies in a store, and the same in the form that is wanted."""
        forms = _forms(call)
        try:
            boxes = await store.get([_name(key, stream) for stream in forms])
        except OSError as error:
            self._note_failure("read", error)
            return None
        now_ns = self._clock.now_ns()
        for stream, data in zip(forms, boxes, strict=True):
            kept = decode_answer(data) if data is not None else None
            if kept is None or kept.key != key or kept.stream != stream or kept.expires_ns <= now_ns:
                continue
            wanted = kept if stream == call.stream else _other_form(kept)
            if wanted is not None:
                return kept, wanted
        return None

    def _bring(self, entry: CachedAnswer, stores: Sequence[SharedAnswers]) -> None:
        self.memory.put(entry)
        for store in stores:
            self.later(store.level, partial(self._write, store, entry))

    async def _write(self, store: SharedAnswers, entry: CachedAnswer) -> None:
        ttl_s = (entry.expires_ns - self._clock.now_ns()) / 1e9
        if ttl_s <= 0:
            return
        try:
            await store.put(_name(entry.key, entry.stream), encode_answer(entry), ttl_s)
        except OSError as error:
            self._note_failure("written", error)

    def _note_failure(self, what: str, error: OSError) -> None:
        if not self._counts.store_failures:
            log.warning("cached answers cannot be %s: %s; such requests are misses", what, error)
        self._counts.store_failures += 1


def _forms(call: ModelCall) -> tuple[bool, ...]:
    """Return the forms that may answer a call, its own first; True for a stream."""
    return (call.stream, not call.stream) if one_form(call) else (call.stream,)


def _other_form(found: CachedAnswer) -> CachedAnswer | None:
    body = whole_of(found.body) if found.stream else stream_of(found.body)
    if body is None:
        return None
    return msgspec.structs.replace(found, body=body, stream=not found.stream, content_type="application/json")


def _name(key: bytes, stream: bool) -> str:
    return f"{key.hex()}.{'stream' if stream else 'whole'}"
