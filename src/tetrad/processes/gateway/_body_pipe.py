"""A request's body on its way through: what comes in faster than it goes out stops the reading, not the memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Self

from tetrad.serving import RequestRefused

HIGH_BYTES = 262_144


class BodyPipe:
    """Pieces in from a connection, pieces out to one reader. Above `HIGH_BYTES` it calls `hold`, and `release` below.

    Iterating raises `RequestRefused` where no piece comes for `timeout_s`, or the body breaks off.
    """

    __slots__ = ("_ended", "_failed", "_held", "_hold", "_pieces", "_release", "_size", "_timeout_s", "_waiter")

    def __init__(self, timeout_s: float, hold: Callable[[], None], release: Callable[[], None]) -> None:
        self._timeout_s = timeout_s
        self._hold = hold
        self._release = release
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._failed = False
        self._held = False
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, piece: bytes) -> None:
        """Take a piece."""
        if self._ended:
            return
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > HIGH_BYTES and not self._held:
            self._held = True
            self._hold()
        self._wake()

    def end(self) -> None:
        """Say that the body is whole."""
        self._ended = True
        self._wake()

    def fail(self) -> None:
        """Say that the rest of the body does not come."""
        self._ended = self._failed = True
        self._wake()

    def close(self) -> None:
        """Throw away what nobody will read, and let the connection read on."""
        self._ended = True
        self._pieces.clear()
        self._size = 0
        self._let_go()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._failed:
                raise RequestRefused("the request's body broke off", code="body_broken")
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._waiter
            except TimeoutError:
                raise RequestRefused(
                    f"nothing of the request's body arrived within {self._timeout_s:g} s",
                    hint="send it faster, or split it",
                    status=408,
                    code="body_timeout",
                ) from None
        piece = self._pieces.popleft()
        self._size -= len(piece)
        if self._size <= HIGH_BYTES // 4:
            self._let_go()
        return piece

    def _let_go(self) -> None:
        if self._held:
            self._held = False
            self._release()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
