"""The client of the Redis protocol takes nothing for an answer that is none, and no more than it was to take."""

from __future__ import annotations

import asyncio

import pytest

from support.raw_server import raw_server
from tetrad.kit.redis import Connection, RedisUnreachable, Value


async def asked(answer: bytes, *, most_bytes: int = 100) -> list[Value]:
    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        await writer.drain()
        await reader.read()

    async with raw_server(act) as server:
        connection = Connection(
            f"redis://127.0.0.1:{server.port}/0", setting="TETRAD_X_URL", timeout_s=10.0, most_bytes=most_bytes
        )
        try:
            return await connection.ask([[b"PING"]])
        except RedisUnreachable:
            assert not connection.is_open, "what comes next may be the rest of this answer"
            raise
        finally:
            connection.close()


@pytest.mark.parametrize("answer", [b"x" * 200_000, b"+" + b"x" * 200_000], ids=["no kind", "no end"])
async def test_a_line_without_an_end_is_no_answer(answer: bytes) -> None:
    with pytest.raises(RedisUnreachable, match="does not answer") as refused:
        await asked(answer)
    assert "TETRAD_X_URL" in (refused.value.hint or "")


async def test_a_value_of_more_than_is_wanted_is_not_read() -> None:
    assert await asked(b"$100\r\n" + b"x" * 100 + b"\r\n") == [b"x" * 100]
    with pytest.raises(RedisUnreachable):
        await asked(b"$101\r\n")
