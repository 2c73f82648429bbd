"""An event loop in a thread of its own, for libraries that may block, and that nobody else should wait for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_CLOSE_S = 2.0
"""So long the end of a loop waits for what runs in it. A thread that hangs in a library is left behind."""


class OwnLoop:
    """Runs coroutines in a thread that starts with the first of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine returns, or raise what it raises. Cancelling this cancels it, without a wait."""
        if self._closed:
            coroutine.close()
            raise RuntimeError(f"the loop {self._name!r} is closed")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._running()))

    def start(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Let a coroutine run, and look neither at its result nor at its failure."""
        if self._closed or self._loop is None:
            coroutine.close()
            return
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def close(self, last: Callable[[], Coroutine[Any, Any, object]] | None = None) -> None:
        """Cancel what runs, run `last`, and end the thread. Without a thread nothing is done."""
        self._closed = True
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_wound_up(last), loop))
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join, _CLOSE_S)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_serve, args=(self._loop,), name=self._name, daemon=True)
            self._thread.start()
        return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _wound_up(last: Callable[[], Coroutine[Any, Any, object]] | None) -> None:
    """Cancel all other tasks of this loop, let them end, and close generators that nobody reads."""
    mine = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not mine]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    if last is not None:
        await last()
    await asyncio.get_running_loop().shutdown_asyncgens()
