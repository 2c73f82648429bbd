"""Server-sent events, taken out of bytes that are torn anywhere."""

from __future__ import annotations

from tetrad.serving.errors import BadAnswer

MAX_EVENT_BYTES = 4 * 1024 * 1024


class EventReader:
    """Collect bytes, hand out the data of whole events (WHATWG HTML, section 9.2, without names, ids and retries)."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that `data` completes; raises `BadAnswer` for an endless event."""
        if self._pending:
            data = self._pending + data
        held = b""
        if b"\r" in data:
            if data.endswith(b"\r"):  # a line break may be torn in two
                data, held = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = data.rfind(b"\n\n") + 2
        if cut == 1:
            self._pending = self._bounded(data + held)
            return []
        self._pending = self._bounded(data[cut:] + held)
        found = []
        for event in data[: cut - 2].split(b"\n\n"):
            payload = _data(event)
            if payload:
                found.append(payload)
        return found

    def rest(self) -> list[bytes]:
        """Return the data of a last event that its stream did not end."""
        return self.feed(b"\n\n") if self._pending else []

    @staticmethod
    def _bounded(pending: bytes) -> bytes:
        if len(pending) > MAX_EVENT_BYTES:
            raise BadAnswer(f"an event of the upstream is larger than {MAX_EVENT_BYTES:,} bytes")
        return pending


def _data(event: bytes) -> bytes:
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)
