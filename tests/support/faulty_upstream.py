"""A fast upstream of the OpenAI protocol whose faults are planned: a process of its own, on uvloop.

    python -m support.faulty_upstream SEED COUNT FOLDER

Prints its port, serves until its standard input ends, and then leaves in the folder what it served: `calls` and
`served` (a byte for each request's number: how often it was asked, how often a whole answer with its usage was
written), and `lost.json` (when the calls that were given up ended, in nanoseconds of the monotonic clock).
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

from support.fault_plan import RETRY_AFTER_S, Plan, plan

_NUMBER = re.compile(rb"r-(\d+)-")
_MODEL = re.compile(rb'"model": ?"([a-z]+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: ?(\d+)", re.IGNORECASE)
_GARBAGE = b"\x00\xff\xfe<html>\x7f this is not what was asked for\r\n\x80\x81" * 3
_RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"
_BUSY = json.dumps(
    {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded", "param": None}}
).encode()
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Books:
    """What was asked and served, by number."""

    def __init__(self, seed: int, count: int) -> None:
        self.seed = seed
        self.calls = bytearray(count)
        self.served = bytearray(count)
        self.lost: dict[int, int] = {}
        self.open = 0


class Upstream(asyncio.Protocol):
    """One connection."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._buffer = b""
        self._waiting = -1
        self._ended = False
        self._transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._books.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._books.open -= 1
        if self._waiting >= 0:
            self._books.lost[self._waiting] = time.monotonic_ns()

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        if self._ended:  # a request that was under way when we said that we are done here
            self._transport.abort()
            return
        self._buffer += data
        while not self._transport.is_closing():
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(self._buffer, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < size:
                return
            head, body, self._buffer = self._buffer[:end], self._buffer[end + 4 : size], self._buffer[size:]
            if head.startswith(b"GET "):
                self._whole(b"200 OK", b"%d" % self._books.open)
            else:
                self._answer(body)

    def _answer(self, body: bytes) -> None:
        number, model = _NUMBER.search(body), _MODEL.search(body)
        if number is None or model is None:
            self._whole(b"400 Bad", b'{"error": {"message": "no number", "type": "x", "code": "no_number"}}')
            return
        books = self._books
        asked = plan(books.seed, int(number[1]))
        books.calls[asked.number] += 1
        stream = b'"stream":true' in body
        if stream != asked.stream:
            self._whole(b"400 Bad", b'{"error": {"message": "wrong stream", "type": "x", "code": "wrong_stream"}}')
            return
        answer, middle = (_events if stream else _completion)(asked)
        fault = asked.fault if model[1] == b"flaky" else ""
        self._act(asked, fault, answer, middle)

    def _act(self, asked: Plan, fault: str, answer: bytes, middle: int) -> None:
        transport = self._transport
        if not fault:
            self._serve(asked, answer)
        elif fault == "storm":
            self._whole(b"429 Too Many Requests", _BUSY, b"retry-after: %d\r\n" % RETRY_AFTER_S)
        elif fault == "half_closed" and asked.bit:
            # the whole answer is there, and the end of the connection comes without a word of it before
            self._serve(asked, answer)
            self._end()
        elif fault == "garbage" and asked.late and not asked.stream:
            # as long as it says, and no JSON from its middle on
            transport.write(answer[:middle] + (_GARBAGE * 200)[: len(answer) - middle])
        else:
            part = answer[:middle] if asked.late or fault == "gone_mid" else b""
            if part:
                transport.write(part)
            if fault in ("stall", "gone_waiting", "gone_mid"):
                self._waiting = asked.number
            elif fault == "garbage":
                transport.write(_GARBAGE)
            elif fault == "half_closed":
                self._end()
            else:
                raw = cast("socket.socket", transport.get_extra_info("socket"))
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                # what was written must be read before the reset throws it away
                asyncio.get_running_loop().call_later(0.02 if part else 0, transport.abort)

    def _end(self) -> None:
        self._ended = True
        self._transport.write_eof()

    def _serve(self, asked: Plan, answer: bytes) -> None:
        self._books.served[asked.number] += 1
        self._transport.write(answer)

    def _whole(self, status: bytes, body: bytes, head: bytes = b"") -> None:
        self._transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s"
            % (status, head, len(body), body)
        )


def _completion(asked: Plan) -> tuple[bytes, int]:
    """Return a whole answer, and where its middle is."""
    usage = json.dumps(asked.usage).encode()
    choice = b'{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}' % asked.text.encode()
    start = b'{"id":"chatcmpl-%d","object":"chat.completion","created":1,"model":"flaky-1"' % asked.number
    body = b'%s,"choices":[%s],"usage":%s}' % (start, choice, usage)
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    return answer, len(answer) - len(body) // 2


def _events(asked: Plan) -> tuple[bytes, int]:
    """Return a whole stream, a chunk for each of its events, and where the first of its words ends."""
    start = (
        b'{"id":"chatcmpl-%d","object":"chat.completion.chunk","created":1,"model":"flaky-1","choices":[' % asked.number
    )
    text, pieces = asked.text, []
    step = -(-len(text) // min(asked.words + 1, 12))
    for at in range(0, len(text), step):
        piece = text[at : at + step].encode()
        pieces.append(b'data: %s{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n' % (start, piece))
    pieces.append(b'data: %s{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n' % start)
    pieces.append(b'data: %s],"usage":%s}\n\n' % (start, json.dumps(asked.usage).encode()))
    pieces.append(b"data: [DONE]\n\n")
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
    return b"".join([_STREAM_HEAD, *chunks, b"0\r\n\r\n"]), len(_STREAM_HEAD) + len(chunks[0])


async def _serve(seed: int, count: int, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    books = Books(seed, count)
    server = await loop.create_server(lambda: Upstream(books), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    (folder / "calls").write_bytes(books.calls)
    (folder / "served").write_bytes(books.served)
    (folder / "lost.json").write_text(json.dumps(books.lost))


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
