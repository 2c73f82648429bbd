"""An event loop whose time passes at once: it jumps to the next timer whenever nothing else is left to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualClock:
    """A `Clock` whose time is a number."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now_s)

    def now_ns(self) -> int:
        return round(self.now_s * 1e9)

    def monotonic(self) -> float:
        return self.now_s


class _Jumping(selectors.SelectSelector):
    """Never waits: what would be waited for has passed already."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits and no timer will wake it")
        if timeout > 0:
            self._clock.now_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that lives by a virtual clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        super().__init__(_Jumping(clock))

    def time(self) -> float:
        return self._virtual.now_s


def run_virtually(clock: VirtualClock, work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; what is left running then is a fault."""
    loop = VirtualLoop(clock)
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(work)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            raise AssertionError(f"still running: {left}")
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    return result
