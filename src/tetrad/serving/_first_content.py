"""Hold a stream back until it has content, so that another model may still answer instead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, Literal, TypeVar

import msgspec

from tetrad.kernel import UNREADABLE, Clock
from tetrad.serving._pumping import Put, pumped
from tetrad.serving.errors import DeadlinePassed
from tetrad.serving.ports import Answer, Outcome

MAX_HELD_PIECES = 64
MAX_HELD_BYTES = 256 * 1024
_NOTHING = msgspec.Raw(b"")
_EMPTY = frozenset((b"", b"null", b'""', b"[]", b"{}"))

Content = Literal["none", "some", "error"]
T = TypeVar("T")


class _Choice(msgspec.Struct, frozen=True):
    delta: dict[str, msgspec.Raw] | None = None
    text: msgspec.Raw = _NOTHING
    finish_reason: msgspec.Raw = _NOTHING


class _Chunk(msgspec.Struct, frozen=True):
    choices: list[_Choice] | None = None
    error: msgspec.Raw = _NOTHING
    type: str = ""


_chunks = msgspec.json.Decoder(_Chunk)
_PREAMBLE = frozenset(
    (
        "message_start",
        "ping",
        "content_block_start",
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    )
)
"""Events of typed streams that come before anything a person could read."""


def content_of(events: bytes) -> Content:
    """Tell whether whole server-sent events carry content, an error, or neither (a role, a ping, a comment).

    What cannot be read counts as content: it is passed on as it is.
    """
    for line in events.split(b"\n"):
        if not line.startswith(b"data:"):
            continue
        payload = line[5:].strip()
        if not payload:
            continue
        if payload == b"[DONE]":
            return "some"
        try:
            chunk = _chunks.decode(payload)
        except UNREADABLE:
            return "some"
        if bytes(chunk.error) not in _EMPTY or chunk.type in ("error", "response.failed"):
            return "error"
        if chunk.type and chunk.type not in _PREAMBLE:
            return "some"
        for choice in chunk.choices or ():
            if bytes(choice.finish_reason) not in _EMPTY or bytes(choice.text) not in _EMPTY:
                return "some"
            if any(name != "role" and bytes(raw) not in _EMPTY for name, raw in (choice.delta or {}).items()):
                return "some"
    return "none"


class Held:
    """A stream whose first pieces were read already; `read` gives them out first.

    With a deadline (of the clock's monotonic face) reading past it raises `DeadlinePassed`.
    """

    stream = True

    def __init__(self, answer: Answer, clock: Clock, deadline: float | None = None) -> None:
        self._answer = answer
        self._clock = clock
        self._deadline = deadline
        self._held: deque[bytes] = deque()
        self._ended = False
        self.status, self.headers = answer.status, answer.headers
        self.done, self.received_ns, self.dropped = answer.done, answer.received_ns, answer.dropped

    async def hold(self) -> Content:
        """Read until there is content, an error, the end, or as much as may be held back; tell which."""
        size = 0
        while len(self._held) < MAX_HELD_PIECES and size < MAX_HELD_BYTES:
            piece = await self._answer.read()
            self._held.append(piece)
            size += len(piece)
            self._ended = self._answer.done
            found = content_of(piece)
            if found != "none":
                return found
            if self._ended:
                return "none"
        return "some"

    async def read(self) -> bytes:
        if self._held:
            piece = self._held.popleft()
            self.done = self._ended and not self._held
            return piece
        piece = await self._in_time(self._answer.read())
        self.done = self._answer.done
        return piece

    async def pump(self, put: Put) -> None:
        """Hand on pieces as they come, once those that were held back are out; see `pumped`."""
        if not self._held:
            await self._in_time(pumped(self._answer, put))

    async def _in_time(self, step: Coroutine[Any, Any, T]) -> T:
        if self._deadline is None:
            return await step
        try:
            async with asyncio.timeout(self._deadline - self._clock.monotonic()):
                return await step
        except TimeoutError:
            raise DeadlinePassed(
                "the request's deadline passed in the middle of its answer", hint="allow more time"
            ) from None

    def outcome(self) -> Outcome:
        return self._answer.outcome()

    def close(self) -> None:
        self._answer.close()
