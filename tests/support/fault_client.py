"""Clients of a seeded fault run, in a process of their own: each answer is judged by its request's plan.

    python -m support.fault_client PORT KEY SEED FIRST PAST FOLDER CONNECTIONS

Asks the requests FIRST up to PAST, one after the other on each connection, and leaves in the folder `outcomes` (a byte
for each number: what became of it) and `client.json`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import uvloop

from support.fault_plan import RETRY_AFTER_S, Plan, plan, trace_id

WHOLE, FAILED, TORN, GONE = 1, 2, 3, 4
"""Outcomes: a whole answer, an error instead of one, an error in the middle of a stream, a client that left."""
_KEPT_WRONGS = 20
_RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"
_CODES = {
    "reset": {"upstream_lost"},
    "stall": {"upstream_timeout"},
    "garbage": {"upstream_broken"},
    "half_closed": {"upstream_lost"},
    "storm": {"rate_limit_exceeded"},
    "dns": {"upstream_unreachable"},
}


class Wrong(Exception):
    """An answer that breaks a promise."""


class Run:
    """What all connections share."""

    def __init__(self, arguments: list[str]) -> None:
        self.port, self.key, self.seed = int(arguments[0]), arguments[1], int(arguments[2])
        self.next, self.past = int(arguments[3]), int(arguments[4])
        self.folder = Path(arguments[5])
        self.outcomes = bytearray(self.past)
        self.counts: Counter[str] = Counter()
        self.gone: dict[int, int] = {}
        self.wrong: list[str] = []
        self.wrongs = 0
        self.latest = 0.0

    def take(self) -> Plan | None:
        """Return the next request's plan."""
        if self.next >= self.past:
            return None
        self.next += 1
        return plan(self.seed, self.next - 1)

    def note(self, asked: Plan, outcome: int) -> None:
        self.outcomes[asked.number] = outcome
        self.counts[f"{asked.fault or 'none'}:{'routed' if asked.routed else 'direct'}:{outcome}"] += 1

    def blame(self, asked: Plan, why: str, data: bytes) -> None:
        self.wrongs += 1
        if len(self.wrong) < _KEPT_WRONGS:
            self.wrong.append(f"{asked}: {why}: {data[:1500]!r}")

    def request(self, asked: Plan) -> bytes:
        """Return a request, head and body."""
        if asked.routed:
            name = "stormy" if asked.fault == "storm" else "steady"
        else:
            name = "fake/nowhere" if asked.fault == "dns" else "fake/flaky"
        body = b'{"model":"%s","max_tokens":300,"messages":[{"role":"user","content":"r-%d- please"}]%s}' % (
            name.encode(),
            asked.number,
            b',"stream":true' if asked.stream else b"",
        )
        path = b"/v1/messages" if asked.dialect == "anthropic" else b"/v1/chat/completions"
        key = b"x-api-key: " if asked.dialect == "anthropic" else b"authorization: Bearer "
        return (
            b"POST %s HTTP/1.1\r\nhost: x\r\n%s%s\r\ntraceparent: 00-%s-00000000000000ff-01\r\ncontent-length: %d\r\n"
            b"content-type: application/json\r\n\r\n%s"
            % (path, key, self.key.encode(), trace_id(self.seed, asked.number).encode(), len(body), body)
        )


class Client(asyncio.Protocol):
    """One connection; makes itself anew where it was left or cut."""

    def __init__(self, run: Run, done: asyncio.Future[None]) -> None:
        self._run = run
        self._done = done
        self._asked: Plan | None = None
        self._data = b""
        self._left = False
        self._transport = cast("asyncio.Transport", None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._asked = asked = self._run.take()
        self._data = b""
        if asked is None:
            self._transport.close()
            return
        self._transport.write(self._run.request(asked))
        if asked.fault == "gone_waiting":
            asyncio.get_running_loop().call_later(0.02, self._leave)

    def _leave(self) -> None:
        asked = self._asked
        if asked is None or self._transport.is_closing():
            return
        self._left = True
        if asked.bit:
            raw = cast("socket.socket", self._transport.get_extra_info("socket"))
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._run.gone[asked.number] = time.monotonic_ns()
        self._run.note(asked, GONE)
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        asked = self._asked
        if asked is None or self._left:
            return
        self._data += data
        if asked.fault == "gone_mid" and b"data: " in self._data:
            self._leave()
            return
        head, blank, body = self._data.partition(b"\r\n\r\n")
        if not blank:
            return
        try:
            answer = _read(head, body)
            if answer is None:
                return
            self._run.note(asked, _judge(self._run, asked, head, answer))
        except Wrong as wrong:
            self._run.blame(asked, str(wrong), self._data)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._asked is not None and not self._left:
            self._run.blame(self._asked, f"the connection was cut ({exc})", self._data)
        self._done.set_result(None)


def _read(head: bytes, body: bytes) -> bytes | None:
    """Return the body once it is whole."""
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        if not body.endswith(b"0\r\n\r\n"):
            return None
        pieces, at = [], 0
        while True:
            end = body.find(b"\r\n", at)
            size = int(body[at:end], 16)
            if not size:
                if end + 4 != len(body):
                    return None
                return b"".join(pieces)
            pieces.append(body[end + 2 : end + 2 + size])
            if body[end + 2 + size : end + 4 + size] != b"\r\n":
                if len(body) < end + 4 + size:
                    return None
                raise Wrong("a chunk is longer than it says")
            at = end + 4 + size
    place = lower.find(b"\r\ncontent-length: ")
    if place < 0:
        raise Wrong("the answer has no length")
    size = int(lower[place + 18 :].split(b"\r\n", 1)[0])
    if len(body) > size:
        raise Wrong("the answer is longer than it says")
    return body if len(body) == size else None


def _judge(run: Run, asked: Plan, head: bytes, body: bytes) -> int:
    """Return the outcome; raises `Wrong` for anything but a whole answer or a clear error of the right kind."""
    if b"x-tetrad-trace-id: " + trace_id(run.seed, asked.number).encode() not in head:
        raise Wrong("the answer is of another request")
    if head.startswith(b"HTTP/1.1 200 "):
        stream = b"text/event-stream" in head
        if stream != asked.stream:
            raise Wrong("a stream was asked for and none came, or the other way round")
        if not stream:
            (_whole_anthropic if asked.dialect == "anthropic" else _whole_openai)(asked, json.loads(body))
        elif (_stream_anthropic if asked.dialect == "anthropic" else _stream_openai)(asked, body) == TORN:
            if not asked.late:
                raise Wrong("a stream was torn that had no fault")
            return TORN
        if asked.fault in ("dns", "gone_waiting", "gone_mid"):
            raise Wrong("there cannot be an answer")
        if not asked.routed and asked.fault not in ("", "half_closed"):
            raise Wrong("there was a fault, and the answer is whole")
        return WHOLE
    _error(asked, head, json.loads(body))
    if asked.routed:
        raise Wrong("the route has a healthy model, and did not get to it")
    if asked.fault in ("", "gone_waiting", "gone_mid"):
        raise Wrong("nothing was wrong")
    return FAILED


def _error(asked: Plan, head: bytes, said: Any) -> None:
    error = _told(asked, said)
    if error["code"] not in _CODES.get(asked.fault, ()):
        raise Wrong(f"the error {error['code']!r} does not tell the fault")
    status = head[9:12]
    if (asked.fault == "storm") != (status == b"429") or not b"400" <= status < b"600":
        raise Wrong("the status does not tell the fault")
    if asked.fault == "storm" and b"\r\nretry-after: %d\r\n" % RETRY_AFTER_S not in head + b"\r\n":
        raise Wrong("the pause that the upstream asks for is gone")


def _told(asked: Plan, said: Any) -> Any:
    """Return the inside of an error in the client's own dialect."""
    if asked.dialect == "anthropic" and said.get("type") != "error":
        raise Wrong("the error is not in the client's dialect")
    error = said.get("error")
    if not isinstance(error, dict) or not error.get("message") or not error.get("type"):
        raise Wrong("the error says nothing, or is not in the client's dialect")
    return error


def _whole_openai(asked: Plan, answer: Any) -> None:
    if answer["choices"][0]["message"]["content"] != asked.text:
        raise Wrong("the text is not the request's")
    if answer["usage"] != asked.usage:
        raise Wrong("the usage is not the request's")


def _whole_anthropic(asked: Plan, answer: Any) -> None:
    if answer["type"] != "message" or answer["content"] != [{"type": "text", "text": asked.text}]:
        raise Wrong("the text is not the request's")
    _anthropic_usage(asked, answer["usage"])


def _anthropic_usage(asked: Plan, usage: Any) -> None:
    told = (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"])
    if told != (asked.prompt_tokens - asked.cached_tokens, asked.cached_tokens, asked.completion_tokens):
        raise Wrong("the usage is not the request's")


def _events(body: bytes) -> list[Any]:
    if not body.endswith(b"\n\n"):
        raise Wrong("the last event is not whole")
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
    return [None if line == b"[DONE]" else json.loads(line) for line in lines]


def _stream_openai(asked: Plan, body: bytes) -> int:
    events = _events(body)
    torn = events[-1] is not None
    if torn:
        error = _told(asked, events.pop())
        if error["code"] not in _CODES.get(asked.fault, ()):
            raise Wrong(f"the error {error['code']!r} does not tell the fault")
    else:
        events.pop()
    if None in events:
        raise Wrong("something follows the end of the stream")
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])
    _piece_or_all(asked, text, torn=torn)
    if not torn and events[-1]["choices"][0]["finish_reason"] != "stop":
        raise Wrong("the stream has no finish")
    return TORN if torn else WHOLE


def _stream_anthropic(asked: Plan, body: bytes) -> int:
    events = _events(body)
    torn = events[-1]["type"] == "error"
    if torn:
        error = _told(asked, events.pop())
        if error.get("code", "") not in _CODES.get(asked.fault, ()):
            raise Wrong(f"the error {error!r} does not tell the fault")
    elif events[-1]["type"] != "message_stop":
        raise Wrong("the stream has no end")
    text = "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    _piece_or_all(asked, text, torn=torn)
    if not torn:
        _anthropic_usage(asked, next(event["usage"] for event in events if event["type"] == "message_delta"))
    return TORN if torn else WHOLE


def _piece_or_all(asked: Plan, text: str, *, torn: bool) -> None:
    if text != asked.text and not (torn and asked.text.startswith(text) and text):
        raise Wrong("the text is not the request's")


async def _work(run: Run) -> None:
    loop = asyncio.get_running_loop()
    while run.next < run.past:
        done: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(lambda done=done: Client(run, done), "127.0.0.1", run.port)
        await done


async def _main() -> None:
    run = Run(sys.argv[1:])
    began = time.monotonic()
    await asyncio.gather(*(_work(run) for _ in range(int(sys.argv[7]))))
    told = {
        "seconds": time.monotonic() - began,
        "counts": run.counts,
        "gone": run.gone,
        "wrong": run.wrong,
        "wrongs": run.wrongs,
    }
    (run.folder / "outcomes").write_bytes(run.outcomes)
    (run.folder / "client.json").write_text(json.dumps(told))


if __name__ == "__main__":
    uvloop.run(_main())
