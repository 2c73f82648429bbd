"""Heads of requests that came before: what is read again need not be parsed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tetrad.serving import Operation

_UNLIKE = frozenset((b"expect", b"transfer-encoding", b"upgrade", b"traceparent"))
"""Headers with which a head is parsed each time: they change what follows, or are another one's each time."""
_LENGTHS = (b"ontent-Length: ", b"ontent-length: ")
_BEFORE_LENGTH = (b"\r\nC", b"\r\nc")
_MAX_LENGTH_DIGITS = 9
_MAX_KNOWN_HEADS = 1024
_MAX_GLIMPSED = 8192
_MAX_KNOWN_BYTES = 2048


class KnownHead(NamedTuple):
    """What the parser made of a head: a keep-alive call of a model, by HTTP/1.1, with a length."""

    operation: Operation
    headers: Mapping[bytes, bytes]


class KnownHeads:
    """Heads of admitted requests by their bytes without their length's digits."""

    def __init__(self) -> None:
        self._glimpsed: set[int] = set()
        self._known: dict[bytes, KnownHead] = {}
        self.get = self._known.get

    def know(self, name: bytes, head: KnownHead) -> None:
        """Remember a head that came before. Only those of known clients get here, and not too many of them.

        Of what comes for the first time only a number is kept: clients that number their calls in a header would fill
        the memory with heads that never come again.
        """
        if head.headers.keys() & _UNLIKE:
            return
        number = hash(name)
        if number not in self._glimpsed:
            if len(self._glimpsed) >= _MAX_GLIMPSED:
                self._glimpsed.clear()
            self._glimpsed.add(number)
            return
        if len(self._known) >= _MAX_KNOWN_HEADS:
            self._known.clear()
        self._known[name] = head


def name_of(data: bytes, end: int) -> tuple[bytes, bytes]:
    """Return a head without the digits of its length, and these; nothing where it has none of the usual form."""
    if not 4 <= end <= _MAX_KNOWN_BYTES:
        return b"", b""
    at = data.find(_LENGTHS[0], 0, end)
    if at < 0:
        at = data.find(_LENGTHS[1], 0, end)
    if at < 0 or data[at - 3 : at] not in _BEFORE_LENGTH:
        return b"", b""
    start = at + len(_LENGTHS[0])
    stop = data.find(b"\r\n", start, end)
    digits = data[start:stop]
    if not digits.isdigit() or len(digits) > _MAX_LENGTH_DIGITS:
        return b"", b""
    return data[:start] + data[stop:end], digits
