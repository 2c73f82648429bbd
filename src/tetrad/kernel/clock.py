"""Time as a value that services receive, so that tests can hold it still."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tell the time; nothing else in the product asks the operating system."""

    def now(self) -> datetime:
        """Return the current time in UTC, with microseconds."""
        ...

    def now_ns(self) -> int:
        """Return nanoseconds since the epoch, as spans carry them."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards, for durations and deadlines."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    # The machine's own functions: a request asks half a dozen times, and a call of ours around each is felt.
    now_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)


class FixedClock:
    """A clock that moves only when told to."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        return self._now

    def now_ns(self) -> int:
        return int(self._now.timestamp()) * 1_000_000_000 + self._now.microsecond * 1_000

    def monotonic(self) -> float:
        return self._elapsed_s

    def advance(self, by: timedelta | float) -> None:
        """Move both faces of the clock forward."""
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        self._now += step
        self._elapsed_s += step.total_seconds()
