"""Identifiers: UUIDv7 for rows (RFC 9562), W3C ids for traces and spans."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from collections import deque


class _Sequence:
    """Hand out (millisecond, counter) pairs that only grow, also when the machine's clock does not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ms = 0
        self._counter = 0

    def take(self) -> tuple[int, int]:
        with self._lock:
            now_ms = time.time_ns() // 1_000_000
            if now_ms > self._ms:
                self._ms, self._counter = now_ms, int.from_bytes(os.urandom(2), "big") & 0x7FF
            else:
                self._counter += 1
                if self._counter > 0xFFF:
                    self._ms, self._counter = self._ms + 1, 0
            return self._ms, self._counter


_sequence = _Sequence()


def uuid7() -> uuid.UUID:
    """Return a UUIDv7 that sorts after every earlier one of this process (RFC 9562 §6.2, method 1)."""
    ms, counter = _sequence.take()
    tail = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    return uuid.UUID(int=(ms << 80) | (7 << 76) | (counter << 64) | (2 << 62) | tail)


def new_id(prefix: str) -> str:
    """Return a sortable, readable id such as `key_0192f5c1…` (prefix, underscore, 32 hex digits)."""
    return f"{prefix}_{uuid7().hex}"


_random: deque[str] = deque()
"""Random groups of 16 hex digits, fetched from the system by the hundred: a system call an id is felt per request."""

os.register_at_fork(after_in_child=_random.clear)  # or parent and child would give out the same


_groups = re.compile("[0-9a-f]{16}").findall


def _sixteen() -> str:
    try:
        return _random.pop()
    except IndexError:
        first, *more = _groups(os.urandom(2048).hex())
        _random.extend(more)
        return str(first)


def new_trace_id() -> str:
    """Return 32 hex digits, never all zero (W3C Trace Context)."""
    try:
        return _random.pop() + _random.pop()
    except IndexError:
        return _sixteen() + _sixteen()


def new_span_id() -> str:
    """Return 16 hex digits (W3C Trace Context)."""
    try:
        return _random.pop()
    except IndexError:
        return _sixteen()
