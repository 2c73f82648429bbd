"""What a call in the background says, told to control while it goes on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import msgspec

from tetrad.processes.worker._batch_control import Control
from tetrad.responses import EventBatch

_BLANK = re.compile(rb"\r?\n\r?\n")
_BLANK_BYTES = 4
_BATCH_BYTES = 256 * 1024
_BATCH = 500
_PAUSE_S = 0.05
"""What is said meanwhile goes with the next batch: a fast answer costs few requests."""
_CONTROLS = frozenset(
    ("response.created", "response.queued", "response.in_progress", "response.completed", "response.incomplete",
     "response.failed", "error")
)  # fmt: skip
"""Events of how far the response is: control tells those itself, under the id that the client knows."""


class _Kind(msgspec.Struct, frozen=True):
    type: str = ""


_kind = msgspec.json.Decoder(_Kind)


class EventPieces:
    """A stream of server-sent events that comes in pieces."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the data of each event that is whole by now; an event of many pieces is looked through once."""
        seen = max(0, len(self._rest) - _BLANK_BYTES)
        self._rest += piece
        start = 0
        for begin, end in [blank.span() for blank in _BLANK.finditer(self._rest, seen)]:
            yield data_of(bytes(self._rest[start:begin]))
            start = end
        del self._rest[:start]


def data_of(block: bytes) -> bytes:
    """Return the data of one event."""
    return b"\n".join(line[5:].strip() for line in block.splitlines() if line.startswith(b"data:"))


class Telling:
    """Tells control what one call says, in order and each event once, while control is away as well.

    `put` takes what comes, `run` hands it on until it is cancelled, `told` waits until all of it has arrived.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._call = 0
        self._sent = 0
        self._waiting: list[bytes] = []
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._pieces = EventPieces()

    def begin(self, call: int) -> None:
        """Begin to tell of another call; what is left of the one before is told no more."""
        self._call, self._sent = call, 0
        self._waiting.clear()
        self._pieces = EventPieces()

    def put(self, piece: bytes) -> None:
        """Take a piece of the call's stream."""
        for data in self._pieces.feed(piece):
            try:
                told = _kind.decode(data).type
            except (msgspec.MsgspecError, RecursionError):
                continue
            if told and told not in _CONTROLS:
                self._waiting.append(data)
        if self._waiting:
            self._idle.clear()
            self._more.set()

    async def run(self) -> None:
        """Hand on what comes; raises `WorkGone` where nobody wants it any more, and `JobCutOff`."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                call, batch = self._call, self._next()
                body = EventBatch(call, self._sent, [msgspec.Raw(data) for data in batch])
                await self._control.ask("POST", "/events", msgspec.json.encode(body))
                if call == self._call:
                    self._sent += len(batch)
                    del self._waiting[: len(batch)]
                await asyncio.sleep(_PAUSE_S)
            self._idle.set()

    async def told(self) -> None:
        """Return when control has all that was put."""
        await self._idle.wait()

    def _next(self) -> list[bytes]:
        size, count = 0, 0
        for data in self._waiting[:_BATCH]:
            size += len(data)
            if count and size > _BATCH_BYTES:
                break
            count += 1
        return self._waiting[:count]
