"""An upstream that speaks the OpenAI protocol on a raw socket and misbehaves as scripted by the model's name.

Model `m1` behaves. A name such as `stall:3` or `reset:2` selects one of `Script`'s acts with its argument; chunks of a
stream are HTTP chunks of their own.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from support.fake_media import AUDIO, media_answer, media_events, read_form

WORDS = ["Hel", "lo ", "wor", "ld", "."]
ALOUD = "Oslo, then."


@dataclass
class Seen:
    """A request that reached the upstream."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any


@dataclass
class FakeOpenAI:
    """Counts connections and keeps requests; `base_url` is known once started. Runs in its own thread and loop."""

    requests: list[Seen] = field(default_factory=list)
    open_connections: int = 0
    accepted: int = 0
    aborted: int = 0
    """Connections that ended while an answer was being written."""
    written: int = 0
    port: int = 0
    unix: Path | None = None
    usage: dict[str, Any] = field(
        default_factory=lambda: {
            "prompt_tokens": 12,
            "completion_tokens": 5,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        }
    )

    @property
    def script(self) -> type[Script]:
        """What it can do."""
        return Script

    def model_of(self, target: str, body: dict[str, Any]) -> str:
        """Return the model that a request names: what to act out."""
        return str(body.get("model", "m1"))

    def refusal(self, method: str, target: str, headers: dict[str, str], raw: bytes) -> tuple[int, object] | None:
        """Return the status and the body by which a request is refused before it is acted out, None where it is not."""
        return None

    @property
    def base_url(self) -> str:
        return f"unix://{self.unix}#/v1" if self.unix else f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        if not ready.wait(10):
            raise RuntimeError("the fake upstream did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        if self.unix:
            server = await asyncio.start_unix_server(self._connection, str(self.unix))
        else:
            server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
            self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self.open_connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass
        finally:
            self.open_connections -= 1
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        content_type = headers.get("content-type", "")
        if content_type.startswith("multipart/"):
            body = read_form(content_type, raw)
        else:
            body = json.loads(raw) if raw else None
        self.requests.append(Seen(method, target, headers, body))
        act, _, argument = self.model_of(target, body or {}).partition(":")
        script = self.script(self, reader, writer, target, body or {}, argument)
        refused = self.refusal(method, target, headers, raw)
        if refused is not None:
            return await script.json(*refused)
        perform: Callable[[], Any] = getattr(script, f"act_{act.replace('-', '_')}", script.act_m1)
        return bool(await perform())


class Script:
    def __init__(
        self,
        fake: FakeOpenAI,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        target: str,
        body: dict[str, Any],
        argument: str,
    ) -> None:
        self.fake, self.reader, self.writer, self.target, self.body, self.argument = (
            fake, reader, writer, target, body, argument,
        )  # fmt: skip
        self.streaming = body.get("stream") in (True, "true")

    # acts; each returns whether the connection goes on

    async def act_m1(self) -> bool:
        if self.target.endswith("/models"):
            data = [{"id": name, "object": "model", "owned_by": "fake"} for name in ("m1", "m1-embed")]
            return await self.json(200, {"object": "list", "data": data})
        if self.target.endswith("/embeddings"):
            inputs = self.body["input"] if isinstance(self.body["input"], list) else [self.body["input"]]
            data = [{"object": "embedding", "index": i, "embedding": [0.1, 0.2]} for i in range(len(inputs))]
            usage = {"prompt_tokens": 3, "total_tokens": 3}
            return await self.json(200, {"object": "list", "model": "e1", "data": data, "usage": usage})
        if self.target.endswith("/responses"):
            return await self.response()
        if self.target.endswith("/v1/completions"):
            choice = {"index": 0, "text": "".join(WORDS), "finish_reason": "stop", "logprobs": None}
            shape = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m1-2026"}
            return await self.json(200, {**shape, "choices": [choice], "usage": self.fake.usage})
        if self.target.endswith("/audio/speech"):
            return await self.sound()
        found = media_answer(self.target, self.body)
        if found is not None and self.streaming:
            return await self.events(media_events(self.target))
        if isinstance(found, str):
            return await self.raw(200, "text/plain; charset=utf-8", found.encode())
        if found is not None:
            return await self.json(200, found)
        if self.streaming:
            return await self.stream(WORDS)
        return await self.json(200, self.completion("".join(WORDS)))

    async def act_echo(self) -> bool:
        return await self.json(200, self.completion(json.dumps(self.body)))

    async def act_slow(self) -> bool:
        """A stream of 100 words, `argument` seconds between them."""
        return await self.stream([f"w{i} " for i in range(100)], pause_s=float(self.argument or 0.05))

    async def act_later(self) -> bool:
        """The usual answer, `argument` seconds later."""
        await asyncio.sleep(float(self.argument or 0.2))
        return await self.act_m1()

    async def act_endless(self) -> bool:
        """A stream without end, as fast as it is read."""
        await self.head(200, "text/event-stream")
        event = self.event({"choices": [{"index": 0, "delta": {"content": "x" * 4000}}]})
        try:
            while True:
                await self.chunk(event)
        except ConnectionError:
            self.fake.aborted += 1
            raise

    async def act_stall(self) -> bool:
        """Say nothing at all."""
        await self.gone()
        return False

    async def act_stallmid(self) -> bool:
        await self.head(200, "text/event-stream")
        await self.chunk(self.event({"choices": [{"index": 0, "delta": {"content": "Hel"}}]}))
        await self.gone()
        return False

    async def act_reset(self) -> bool:
        """Reset the connection after `argument` words (0: before the head)."""
        count = int(self.argument or 0)
        if count:
            await self.head(200, "text/event-stream")
            for word in WORDS[:count]:
                await self.chunk(self.event({"choices": [{"index": 0, "delta": {"content": word}}]}))
        self.writer.transport.abort()
        return False

    async def act_garbage(self) -> bool:
        self.writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        await self.writer.drain()
        return False

    async def act_html(self) -> bool:
        return await self.raw(200, "text/html", b"<h1>hello</h1>")

    async def act_error(self) -> bool:
        """Answer with the status in `argument`, in the protocol's own shape."""
        status = int(self.argument)
        error = {"message": "as scripted", "type": "scripted", "code": f"code_{status}", "param": None}
        return await self.json(status, {"error": error}, extra="retry-after: 7\r\n")

    async def act_leak(self) -> bool:
        """Quote the request's credential in a 400."""
        headers = self.fake.requests[-1].headers
        names = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "x-amz-security-token")
        secret = " ".join(headers[name] for name in names if name in headers)
        return await self.json(400, {"error": {"message": f"you sent {secret}", "code": "leak"}})

    async def act_unparsed(self) -> bool:
        """Blame the caller with 500, as llama.cpp does."""
        message = "Failed to parse messages: type must be string, but is null"
        return await self.json(500, {"error": {"code": 500, "message": message, "type": "server_error"}})

    async def act_plain_error(self) -> bool:
        return await self.raw(500, "text/plain", b"boom")

    async def act_nodone(self) -> bool:
        """A stream without the end marker."""
        await self.head(200, "text/event-stream")
        for word in WORDS:
            await self.chunk(self.event({"choices": [{"index": 0, "delta": {"content": word}}]}))
        await self.chunk(self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        await self.end()
        return True

    async def act_cut(self) -> bool:
        """A stream that ends, properly for HTTP, before its answer does."""
        await self.head(200, "text/event-stream")
        for word in WORDS[:2]:
            await self.chunk(self.event({"choices": [{"index": 0, "delta": {"content": word}}]}))
        await self.end()
        return True

    async def act_hidden(self) -> bool:
        """An error that comes with 200."""
        return await self.json(200, {"error": {"message": "too many at once", "type": "server_error", "code": 529}})

    async def act_unstreamed(self) -> bool:
        """A whole answer, whatever was asked for."""
        return await self.json(200, self.completion("Hello world."))

    async def act_boundless(self) -> bool:
        """An answer that tells a usage which cannot be."""
        usage = {"prompt_tokens": 12, "completion_tokens": 10**30, "total_tokens": 10**30 + 12}
        return await self.json(200, {**self.completion("Hello world."), "usage": usage})

    async def act_split(self) -> bool:
        """A stream of which every byte is a chunk of its own."""
        events = b"".join([*map(self.word, WORDS), self.finish(), *self.usage_events(), b"data: [DONE]\n\n"])
        await self.head(200, "text/event-stream")
        for i in range(len(events)):
            await self.chunk(events[i : i + 1])
        await self.end()
        return True

    async def act_tools(self) -> bool:
        deltas = [
            {
                "role": "assistant",
                "tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "w"}}],
            },
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"c":'}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]},
        ]
        await self.head(200, "text/event-stream")
        for delta in deltas:
            await self.chunk(self.event({"choices": [{"index": 0, "delta": delta}]}))
        await self.chunk(self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}))
        await self.chunk(b"data: [DONE]\n\n")
        await self.end()
        return True

    async def act_agent(self) -> bool:
        """Call the tool `weather` first; once its result is there, say what it was.

        `agent:aloud` thinks before, and refuses, as DeepSeek does, to go on without what it thought.
        """
        aloud = {"reasoning_content": ALOUD} if self.argument == "aloud" else {}
        before = [each for each in self.body["messages"] if each["role"] == "assistant"]
        if aloud and any(each.get("reasoning_content") != ALOUD for each in before):
            error = {"message": "the reasoning_content must be passed back", "type": "invalid_request_error"}
            return await self.json(400, {"error": error})
        results = [each["content"] for each in self.body["messages"] if each["role"] == "tool"]
        if results:
            said = [f"It is {results[-1]}."]
            return await self.stream(said) if self.streaming else await self.json(200, self.completion(said[0]))
        call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
        if not self.streaming:
            whole = self.completion("")
            whole["choices"][0]["message"] |= {"content": None, "tool_calls": [call], **aloud}
            whole["choices"][0]["finish_reason"] = "tool_calls"
            return await self.json(200, whole)
        await self.head(200, "text/event-stream")
        delta = {"role": "assistant", "tool_calls": [{"index": 0, **call}]}
        for piece in [aloud, delta] if aloud else [delta]:
            await self.chunk(self.event({"choices": [{"index": 0, "delta": piece}]}))
        await self.chunk(self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}))
        await self.chunk(b"data: [DONE]\n\n")
        await self.end()
        return True

    async def act_lingering(self) -> bool:
        """Send the end marker and keep the stream open until the client is gone."""
        await self.head(200, "text/event-stream")
        await self.chunk(self.word("hi"))
        await self.chunk(b"data: [DONE]\n\n")
        await self.gone()
        return False

    async def act_torn(self) -> bool:
        """Sound that breaks off."""
        await self.head(200, "audio/mpeg")
        await self.chunk(AUDIO[:1000])
        self.writer.transport.abort()
        return False

    # pieces

    async def sound(self) -> bool:
        await self.head(200, "audio/mpeg")
        for start in range(0, len(AUDIO), 10_000):
            await self.chunk(AUDIO[start : start + 10_000])
        await self.end()
        return True

    async def events(self, events: list[bytes]) -> bool:
        await self.head(200, "text/event-stream")
        for event in events:
            await self.chunk(event)
        await self.end()
        return True

    async def response(self) -> bool:
        """Answer as an upstream that speaks Responses natively."""
        part = {"type": "output_text", "text": "".join(WORDS), "annotations": [], "logprobs": []}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        whole = {
            "id": f"resp_up{len(self.fake.requests)}",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": "m1-2026",
            "output": [item],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": 12,
                "input_tokens_details": {"cached_tokens": 2},
                "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 1},
                "total_tokens": 17,
            },
        }
        if not self.streaming:
            return await self.json(200, whole)
        begun = {**whole, "status": "in_progress", "output": [], "usage": None}
        where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        said = [
            {"type": "response.created", "response": begun},
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
            {"type": "response.content_part.added", **where, "part": {**part, "text": ""}},
            *({"type": "response.output_text.delta", **where, "delta": word, "logprobs": []} for word in WORDS),
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": whole},
        ]
        await self.head(200, "text/event-stream")
        for number, event in enumerate(said):
            body = json.dumps({**event, "sequence_number": number}).encode()
            await self.chunk(b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), body))
        await self.end()
        return True

    def completion(self, text: str) -> dict[str, Any]:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m1-2026",
            "choices": [choice],
            "usage": self.fake.usage,
        }

    def event(self, chunk: dict[str, Any]) -> bytes:
        shape = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m1-2026", **chunk}
        return b"data: " + json.dumps(shape).encode() + b"\n\n"

    def word(self, word: str) -> bytes:
        return self.event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})

    def finish(self) -> bytes:
        return self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})

    def usage_events(self) -> list[bytes]:
        asked = (self.body.get("stream_options") or {}).get("include_usage")
        return [self.event({"choices": [], "usage": self.fake.usage})] if asked else []

    async def stream(self, words: list[str], pause_s: float = 0.0) -> bool:
        await self.head(200, "text/event-stream")
        try:
            for word in words:
                await self.chunk(self.word(word))
                if pause_s:
                    await asyncio.sleep(pause_s)
        except ConnectionError:
            self.fake.aborted += 1
            raise
        for event in (self.finish(), *self.usage_events(), b"data: [DONE]\n\n"):
            await self.chunk(event)
        await self.end()
        return True

    async def json(self, status: int, body: Any, extra: str = "") -> bool:
        return await self.raw(status, "application/json", json.dumps(body).encode(), extra)

    async def raw(self, status: int, content_type: str, body: bytes, extra: str = "") -> bool:
        self.writer.write(
            f"HTTP/1.1 {status} Scripted\r\ncontent-type: {content_type}\r\n{extra}content-length: {len(body)}\r\n\r\n"
            .encode() + body
        )  # fmt: skip
        await self.writer.drain()
        return True

    async def head(self, status: int, content_type: str) -> None:
        self.writer.write(
            f"HTTP/1.1 {status} OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        if self.writer.transport.is_closing() or self.reader.at_eof():
            raise ConnectionResetError
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.fake.written += len(data)
        await self.writer.drain()

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the client closes."""
        while await self.reader.read(65_536):
            pass
        self.fake.aborted += 1
