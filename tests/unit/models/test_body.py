"""A request's body is read from a thread as a file, piece by piece."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator

import pytest

from tetrad.models._body import BodyReader


async def chunks(*pieces: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if error is not None:
        raise error


async def test_pieces_of_any_size_are_one_stream() -> None:
    reader = io.BufferedReader(BodyReader(chunks(b"abc", b"", b"defgh", b"i")), 4)
    assert await asyncio.to_thread(reader.read, 2) == b"ab"
    assert await asyncio.to_thread(reader.read) == b"cdefghi"
    assert await asyncio.to_thread(reader.read, 5) == b""


async def test_what_the_body_raises_is_raised_to_whoever_reads() -> None:
    reader = io.BufferedReader(BodyReader(chunks(b"abc", error=ConnectionResetError("gone"))), 4)
    with pytest.raises(ConnectionResetError, match="gone"):
        await asyncio.to_thread(reader.read)
