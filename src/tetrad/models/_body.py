"""A request's body as a file, for code that reads files in a thread."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator


class BodyReader(io.RawIOBase):
    """Reads a body as it comes, from another thread than the loop's it was made in; memory is bounded by one chunk.

    What the body raises (the client has left, too large, too slow) is raised by `read`.
    """

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._loop = asyncio.get_running_loop()
        self._left = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        while not self._left and not self._ended:
            chunk = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            self._ended = chunk is None
            self._left = memoryview(chunk or b"")
        target = memoryview(buffer)  # type: ignore[arg-type] # io hands over what can be written to
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    async def _next(self) -> bytes | None:
        return await anext(self._chunks, None)
