"""The gateway's client of the index: deadline, rest after a failure, and answers that lie."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tetrad.kit.upstream import Client, Limits
from tetrad.processes.gateway._similar import InferenceSimilar

KEY = "ab" * 32


class Index:
    """An inference process on a socket that answers with `body`, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[tuple[str, Any]] = []
        self.body: Any = {"key": KEY, "score": 0.98}
        self.status = 200
        self.silent = False

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length: ")[1].split("\r\n")[0])
                self.seen.append((head.split(" ")[1], json.loads(await reader.readexactly(length))))
                if self.silent:
                    await reader.read()
                    return
                data = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (self.status, len(data), data))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Seconds:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Index]:
    made = Index(tmp_path / "i.sock")
    server = await asyncio.start_unix_server(made.answer, str(made.path))
    yield made
    server.close()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    made = Client(Limits(max_connections=4))
    yield made
    await made.close()


async def test_the_nearest_question_is_asked_for_and_told(index: Index, client: Client) -> None:
    similar = InferenceSimilar(client, index.path, deadline_s=10)
    assert await similar.find("p" * 64, "hi", 0.9) == (bytes.fromhex(KEY), 0.98)
    await similar.add("p" * 64, "hi", bytes.fromhex(KEY), 60)
    assert [path for path, _ in index.seen] == ["/v1/similar", "/v1/similar/entries"]
    assert index.seen[1][1] == {"partition": "p" * 64, "text": "hi", "key": KEY, "ttl_s": 60}


@pytest.mark.parametrize(
    "body",
    [
        {"key": None, "score": 0.0},
        {"key": KEY, "score": 0.5},
        {"key": KEY, "score": 7},
        {"key": "no hex", "score": 0.99},
        {"key": 4},
        b"<html>",
        b"",
        b"x" * 100_000,
    ],
    ids=lambda body: str(body)[:30],
)
async def test_what_is_no_hit_or_lies_is_a_miss(index: Index, client: Client, body: Any) -> None:
    index.body = body
    assert await InferenceSimilar(client, index.path, deadline_s=10).find("p", "hi", 0.9) is None


async def test_a_dead_index_is_a_miss_and_is_left_alone_for_a_while(client: Client, tmp_path: Path) -> None:
    seconds = Seconds()
    similar = InferenceSimilar(client, tmp_path / "nobody.sock", deadline_s=10, now_s=seconds)
    assert await similar.find("p", "hi", 0.9) is None
    assert await similar.find("p", "hi", 0.9) is None
    assert similar.failures == 1
    seconds.now += 6
    await similar.find("p", "hi", 0.9)
    assert similar.failures == 2


async def test_a_silent_index_is_a_miss_past_the_deadline(index: Index, client: Client) -> None:
    index.silent = True
    similar = InferenceSimilar(client, index.path, deadline_s=0.05)
    assert await similar.find("p", "hi", 0.9) is None
    assert similar.failures == 1


@pytest.mark.parametrize(("status", "failures"), [(400, 0), (429, 1), (503, 1)])
async def test_a_text_that_cannot_be_embedded_is_no_failure_and_a_busy_embedder_is(
    index: Index, client: Client, status: int, failures: int
) -> None:
    index.status = status
    similar = InferenceSimilar(client, index.path, deadline_s=10)
    assert await similar.find("p", "hi", 0.9) is None
    assert similar.failures == failures
