"""Server-sent events, taken out of bytes that are torn anywhere."""

from __future__ import annotations

from typing import Any

from tetrad.serving.errors import BadAnswer, StreamBroken

MAX_EVENT_BYTES = 4 * 1024 * 1024


class EventReader:
    """Collect bytes, hand out the data of whole events (WHATWG HTML, section 9.2, without names, ids and retries)."""

    __slots__ = ("_held", "_pending")

    def __init__(self) -> None:
        self._pending = bytearray()  # of an event that is not whole; what is in it was looked through already
        self._held = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that `data` completes; raises `BadAnswer` for an endless event."""
        if self._held:
            data, self._held = self._held + data, b""
        if b"\r" in data:
            if data.endswith(b"\r"):  # a line break may be torn in two
                data, self._held = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        pending = self._pending
        if pending:
            seen = len(pending) - 1
            pending += data
            cut = pending.rfind(b"\n\n", seen) + 2
            whole = bytes(pending[: cut - 2]) if cut > 1 else b""
            del pending[: cut if cut > 1 else 0]
        else:
            cut = data.rfind(b"\n\n") + 2
            whole = data[: cut - 2] if cut > 1 else b""
            pending += data[cut if cut > 1 else 0 :]
        if len(pending) > MAX_EVENT_BYTES:
            raise BadAnswer(f"an event of the upstream is larger than {MAX_EVENT_BYTES:,} bytes")
        if not whole:
            return []
        return [payload for event in whole.split(b"\n\n") if (payload := _data(event))]

    def rest(self) -> list[bytes]:
        """Return the data of a last event that its stream did not end."""
        return self.feed(b"\n\n") if self._pending or self._held else []


class StreamTranslator:
    """What translators of streams do alike; theirs is what an event means, in `_take`, and the end, in `_finish`."""

    _reason: Any
    """Why the answer ended, as far as that was said."""

    def __init__(self) -> None:
        self.done = False
        self._reader = EventReader()

    def feed(self, data: bytes) -> bytes:
        """Return what the client is told of so many bytes; see `EventTranslator`."""
        if self.done:
            return b""
        said: list[bytes] = []
        for payload in self._reader.feed(data):
            if not self.done:
                self._take(payload, said)
        return b"".join(said)

    def end(self) -> bytes:
        """Return what is left to say; see `EventTranslator`."""
        said: list[bytes] = []
        for payload in self._reader.rest():
            if not self.done:
                self._take(payload, said)
        if not self.done:
            if not self._reason:
                raise StreamBroken("the upstream's stream ended before its answer did", hint="try again")
            self._finish(said)
        return b"".join(said)

    def _take(self, payload: bytes, said: list[bytes]) -> None:
        raise NotImplementedError

    def _finish(self, said: list[bytes]) -> None:
        raise NotImplementedError


def _data(event: bytes) -> bytes:
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)
