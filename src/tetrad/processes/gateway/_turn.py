"""What one turn of the event loop has finished: its records go to disk in one write, then its answers to their clients.

A write to the spool and the wake-up of whoever reads it cost as much as the making of a record; under load dozens of
requests end in one turn, and one write serves them all. The promise stays: an answer's end is handed to its transport
only after its record was handed to the kernel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from tetrad.kit.spool import SpoolWriter

MAX_HELD_BYTES = 256 * 1024
"""More records are not held back: what is large gains nothing from company."""


class Line(Protocol):
    """Where the end of an answer goes."""

    def put(self, data: bytes) -> None:
        """Hand bytes to the transport, if there still is one."""
        ...


class Turn:
    """Collect records and the ends of answers until the loop turns. One per worker; belongs to its event loop."""

    def __init__(self, spool: SpoolWriter) -> None:
        self._spool = spool
        self._frames: list[bytes] = []
        self._bytes = 0
        self._ends: list[tuple[Line, bytes]] = []
        self._soon: Callable[[Callable[[], None]], object] | None = None
        self._armed = False

    def append(self, frame: bytes) -> None:
        """Write a record, at the latest when the loop turns; without a loop, now."""
        self._frames.append(frame)
        self._bytes += len(frame)
        if self._bytes >= MAX_HELD_BYTES:
            self._write()
        elif not self._armed:
            self._arm()

    def end(self, line: Line, data: bytes) -> None:
        """Send the end of an answer behind the records of all answers that ended before."""
        self._ends.append((line, data))
        if not self._armed:
            self._arm()

    def flush(self) -> None:
        """Write what is held back, now."""
        self._armed = False
        if self._frames:
            self._write()
        if self._ends:
            ends, self._ends = self._ends, []
            for line, data in ends:
                line.put(data)

    def _write(self) -> None:
        frames, self._frames, self._bytes = self._frames, [], 0
        self._spool.extend(frames)

    def _arm(self) -> None:
        if self._soon is None:
            try:
                self._soon = asyncio.get_running_loop().call_soon
            except RuntimeError:
                self.flush()
                return
        self._armed = True
        self._soon(self.flush)
