"""Tells whoever waits for a response that something is new, inside one process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from threading import Lock

_Name = tuple[str, str]
_Waiter = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class Bells:
    """A bell for each response that somebody waits for. `ring` may be called from any thread.

    Whoever waits looks again from time to time: what another process of control wrote rings nothing here.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._waiting: dict[_Name, list[_Waiter]] = {}

    @contextlib.contextmanager
    def heard(self, project: str, identity: str) -> Iterator[asyncio.Event]:
        """Lend an event that is set by each ring; look at what there is after this, and before waiting."""
        name, waiter = (project, identity), (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.setdefault(name, []).append(waiter)
        try:
            yield waiter[1]
        finally:
            with self._lock:
                others = self._waiting[name]
                others.remove(waiter)
                if not others:
                    del self._waiting[name]

    def ring(self, project: str, identity: str) -> None:
        """Wake all who wait for a response."""
        with self._lock:
            for loop, event in self._waiting.get((project, identity), ()):
                with contextlib.suppress(RuntimeError):  # its loop was closed meanwhile: nobody waits there
                    loop.call_soon_threadsafe(event.set)
