"""Server-sent events, read piece by piece (WHATWG HTML, "Server-sent events"); bounded, and written anew."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tetrad.tools.errors import ServerBroken

KEEP_ALIVE = b":\n\n"
SHORTEST_RETRY_MS = 100
LONGEST_RETRY_MS = 60_000
"""A server that has clients come back at once would have them call us without end; one that says never, wait."""
_MAX_DIGITS = 9


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event. One without data and id only says that the server lives."""

    data: bytes = b""
    id: bytes = b""
    retry: bytes = b""
    name: bytes = b""

    def encoded(self) -> bytes:
        """Return the event as it is passed on."""
        if not (self.data or self.id or self.retry):
            return KEEP_ALIVE
        lines = [b"event: message\n"]
        if self.id:
            lines.append(b"id: %b\n" % self.id)
        if self.retry:
            lines.append(b"retry: %b\n" % self.retry)
        lines += [b"data: %b\n" % line for line in self.data.split(b"\n")]
        return b"".join([*lines, b"\n"])


class EventReader:
    """Cut a stream into events; what is past `most_bytes` without an end is refused with `ServerBroken`."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._size = 0
        self._lines: list[bytes] = []
        self._after_cr = False

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that are whole now."""
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._after_cr = piece.endswith(b"\r") if piece else self._after_cr
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = piece.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest, self._rest_size = [], 0
        if rest:
            self._rest.append(rest)
            self._rest_size += len(rest)
        for line in lines:
            if line:
                self._lines.append(line)
                self._size += len(line)
                self._check(self._size)
            elif self._lines:
                yield self._event()
        self._check(self._size + self._rest_size)

    def _check(self, size: int) -> None:
        if size > self._most:
            raise ServerBroken(
                f"an event of the MCP server has more than {self._most:,} bytes",
                hint="ask for less, or raise TETRAD_GATEWAY_TOOL_ANSWER_BYTES",
            )

    def _event(self) -> Event:
        data: list[bytes] = []
        found: dict[bytes, bytes] = {}
        for line in self._lines:
            field, colon, value = line.partition(b":")
            if not field and colon:
                continue
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            else:
                found[field] = value
        self._lines, self._size = [], 0
        retry = found.get(b"retry", b"")
        identity = found.get(b"id", b"")
        return Event(
            b"\n".join(data),
            identity if b"\0" not in identity else b"",
            _bounded(retry),
            found.get(b"event", b""),
        )


def _bounded(retry: bytes) -> bytes:
    if not retry.isdigit():
        return b""
    asked_ms = int(retry[:_MAX_DIGITS]) if len(retry) <= _MAX_DIGITS else LONGEST_RETRY_MS
    return b"%d" % min(max(asked_ms, SHORTEST_RETRY_MS), LONGEST_RETRY_MS)
