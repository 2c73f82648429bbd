"""An upstream that speaks Anthropic's Messages on a raw socket and misbehaves as scripted by the model's name."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from support.fake_openai import WORDS, FakeOpenAI, Script

SIGNATURE = "EqoBCkgIARABGAIiQL=="
THOUGHTS = ["Two and two", " are four."]
TOOLS = [
    ("toolu_1", "weather", '{"city": "Oslo"}'),
    ("toolu_2", "weather", '{"city": "Bergen"}'),
    ("toolu_3", "now", ""),
]
REDACTED = "xyz"
BLOCKS = "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified"


def signature_of(model: str, text: str) -> str:
    """Return what the model signs a thought with."""
    if text == "".join(THOUGHTS):
        return SIGNATURE
    return base64.b64encode(hashlib.sha256(f"{model}/{text}".encode()).digest()).decode()


def agent_steps(model: str) -> list[list[dict[str, Any]]]:
    """Return the answers of the model `agent`, one after the other's results.

    Parallel calls, a thought that is not shown, thoughts between calls, and then a text.
    """

    def thought(text: str) -> dict[str, Any]:
        return {"type": "thinking", "thinking": text, "signature": signature_of(model, text)}

    def call(number: int, city: str) -> dict[str, Any]:
        return {"type": "tool_use", "id": f"toolu_{number}", "name": "weather", "input": {"city": city}}

    redacted = {"type": "redacted_thinking", "data": REDACTED}
    look = {"type": "text", "text": "I look. ☁"}
    return [
        [thought("Two cities, then. Ö"), redacted, look, call(1, "Oslo"), call(2, "Bergen")],
        [thought(""), call(3, "Voss")],
        [thought("One more,"), call(4, "Moss"), thought(" or two."), call(5, "Ås")],
        [thought("Cold."), {"type": "text", "text": "It is cold."}],
    ]


def refusal_of(model: str, messages: list[Any]) -> str:
    """Return why Anthropic refuses the thoughts in a conversation; empty where it does not."""
    for number, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        for place, block in enumerate(content if isinstance(content, list) else []):
            at = f"messages.{number}.content.{place}"
            kind = block.get("type")
            if kind == "thinking" and block.get("signature") != signature_of(model, block["thinking"]):
                return f"{at}: Invalid `signature` in `thinking` block"
            if kind == "redacted_thinking" and block.get("data") != REDACTED:
                return f"{at}: Invalid `data` in `redacted_thinking` block"
    return ""


def turns_of(messages: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return role and blocks of each turn: messages of the same role that follow each other are one."""
    turns: list[tuple[str, list[dict[str, Any]]]] = []
    for message in messages:
        said = message["content"]
        blocks = said if isinstance(said, list) else [{"type": "text", "text": said}]
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(blocks)
        else:
            turns.append((message["role"], list(blocks)))
    return turns


@dataclass
class FakeAnthropic(FakeOpenAI):
    """Like `FakeOpenAI`, in Anthropic's protocol."""

    usage: dict[str, Any] = field(
        default_factory=lambda: {
            "input_tokens": 10,
            "cache_creation_input_tokens": 7,
            "cache_read_input_tokens": 2,
            "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
            "output_tokens": 5,
            "output_tokens_details": {"thinking_tokens": 1},
        }
    )

    @property
    def script(self) -> type[Script]:
        return AnthropicScript


@dataclass
class FakeVertexAnthropic(FakeAnthropic):
    """Like `FakeAnthropic`, at Vertex's paths."""

    @property
    def script(self) -> type[Script]:
        return VertexScript

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/projects/p/locations/l/publishers/anthropic"

    def model_of(self, target: str, body: dict[str, Any]) -> str:
        found = re.search(r"/models/([^:]+):", target)
        name = unquote(found[1]) if found else "m1"
        return "m1" if name == "count-tokens" else name


class AnthropicScript(Script):
    """Acts of Anthropic's protocol; those that only break connections are `Script`'s."""

    closed = False

    async def act_m1(self) -> bool:
        if self.target.endswith("/count_tokens"):
            return await self.json(200, {"input_tokens": 14})
        if why := refusal_of(self.model, self.body.get("messages", [])):
            return await self.refuse(why)
        if self.streaming:
            return await self.stream(WORDS)
        return await self.json(200, self.completion("".join(WORDS)), extra=LIMITS)

    async def act_agent(self) -> bool:
        """A loop of tools with thinking: it goes on only where every thought of it came back as it was."""
        turns, steps = turns_of(self.body["messages"]), agent_steps(self.model)
        if why := refusal_of(self.model, self.body["messages"]):
            return await self.refuse(why)
        started = max(number for number, (role, blocks) in enumerate(turns)
                      if role == "user" and blocks[0].get("type") != "tool_result")  # fmt: skip
        loop = [blocks for role, blocks in turns[started:] if role == "assistant"]
        for answered, said in zip(steps, loop, strict=False):
            if said[:1] != answered[:1]:
                return await self.refuse(
                    f"messages.{started + 1}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
                    f"`{said[0]['type'] if said else ''}`. When `thinking` is enabled, a final `assistant` message "
                    "must start with a thinking block"
                )
            if said != answered:
                return await self.refuse(BLOCKS)
        content = steps[len(loop)]
        reason = "tool_use" if content[-1]["type"] == "tool_use" else "end_turn"
        if not self.streaming:
            return await self.json(200, self.message(content, reason))
        events = [self.start()]
        for index, block in enumerate(content):
            events += self.told(index, block)
        return await self.events([*events, *self.finish_events(reason)])

    async def refuse(self, why: str) -> bool:
        error = {"type": "invalid_request_error", "message": why}
        return await self.json(400, {"type": "error", "error": error})

    @property
    def model(self) -> str:
        return self.fake.model_of(self.target, self.body)

    def told(self, index: int, block: dict[str, Any]) -> list[bytes]:
        """Return the events of a block, its texts in two pieces."""
        kind = block["type"]
        if kind == "redacted_thinking":
            return self.block(index, block, [])
        if kind == "tool_use":
            piece = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            return self.block(index, {**block, "input": {}}, [piece])
        text, half = block[kind], len(block[kind]) // 2
        deltas = [{"type": f"{kind}_delta", kind: piece} for piece in (text[:half], text[half:]) if piece]
        if kind == "thinking":
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return self.block(index, {**block, kind: "", **({"signature": ""} if kind == "thinking" else {})}, deltas)

    async def act_tools(self) -> bool:
        """Three calls, the last without arguments; a stream cuts the arguments in two."""
        content = [
            {"type": "tool_use", "id": id_, "name": name, "input": json.loads(arguments or "{}")}
            for id_, name, arguments in TOOLS
        ]
        if not self.streaming:
            return await self.json(200, self.message(content, "tool_use"))
        events = [self.start()]
        for index, (id_, name, arguments) in enumerate(TOOLS):
            block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
            pieces = [arguments[:5], arguments[5:]] if arguments else []
            events += self.block(index, block, [{"type": "input_json_delta", "partial_json": p} for p in ("", *pieces)])
        return await self.events([*events, *self.finish_events("tool_use")])

    async def act_thinking(self) -> bool:
        """Signed thinking, a redacted thought, then an answer."""
        thinking = {"type": "thinking", "thinking": "".join(THOUGHTS), "signature": SIGNATURE}
        content = [thinking, {"type": "redacted_thinking", "data": REDACTED}, {"type": "text", "text": "4"}]
        if self.argument == "one":
            content.pop(1)
        if not self.streaming:
            return await self.json(200, self.message(content, "end_turn"))
        deltas = [{"type": "thinking_delta", "thinking": text} for text in THOUGHTS]
        deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        events = [self.start(), *self.block(0, {"type": "thinking", "thinking": "", "signature": ""}, deltas)]
        for index, block in enumerate(content[1:], 1):
            if block["type"] == "text":
                events += self.block(index, {"type": "text", "text": ""}, [{"type": "text_delta", "text": "4"}])
            else:
                events += self.block(index, block, [])
        return await self.events([*events, *self.finish_events("end_turn")])

    async def act_refusal(self) -> bool:
        details = {"type": "refusal", "category": "bio", "explanation": "no"}
        return await self.json(200, {**self.message([], "refusal"), "stop_details": details})

    async def act_overloaded(self) -> bool:
        """Give up in the middle of a stream."""
        await self.head(200, "text/event-stream")
        await self.chunk(self.start() + self.begin_text() + self.word("Hel"))
        error = {"type": "overloaded_error", "message": "Overloaded"}
        await self.chunk(self.event({"type": "error", "error": error}))
        await self.end()
        return True

    async def act_error(self) -> bool:
        status = int(self.argument)
        kind = {429: "rate_limit_error", 529: "overloaded_error"}.get(status, f"error_{status}")
        body = {"type": "error", "error": {"type": kind, "message": "as scripted"}, "request_id": "req_1"}
        return await self.json(status, body, extra="retry-after: 7\r\n" + LIMITS)

    async def act_endless(self) -> bool:
        await self.head(200, "text/event-stream")
        await self.chunk(self.start() + self.begin_text())
        try:
            while True:
                await self.chunk(self.word("x" * 4000))
        except ConnectionError:
            self.fake.aborted += 1
            raise

    async def act_stallmid(self) -> bool:
        await self.head(200, "text/event-stream")
        await self.chunk(self.start() + self.begin_text() + self.word("Hel"))
        await self.gone()
        return False

    async def act_reset(self) -> bool:
        count = int(self.argument or 0)
        if count:
            await self.head(200, "text/event-stream")
            await self.chunk(self.start() + self.begin_text() + b"".join(map(self.word, WORDS[:count])))
        self.writer.transport.abort()
        return False

    async def act_nodone(self) -> bool:
        """A stream without the event that ends it."""
        await self.head(200, "text/event-stream")
        await self.chunk(b"".join([self.start(), self.begin_text(), *map(self.word, WORDS)]))
        await self.end()
        return True

    async def act_split(self) -> bool:
        events = b"".join([self.start(), self.begin_text(), *map(self.word, WORDS), *self.finish_events("end_turn")])
        await self.head(200, "text/event-stream")
        for i in range(len(events)):
            await self.chunk(events[i : i + 1])
        await self.end()
        return True

    async def act_lingering(self) -> bool:
        await self.head(200, "text/event-stream")
        await self.chunk(b"".join([self.start(), self.begin_text(), self.word("hi"), *self.finish_events("end_turn")]))
        await self.gone()
        return False

    # pieces

    def message(self, content: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-2026",
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": self.fake.usage,
        }

    def completion(self, text: str) -> dict[str, Any]:
        return self.message([{"type": "text", "text": text}], "end_turn")

    def event(self, chunk: dict[str, Any]) -> bytes:
        return f"event: {chunk['type']}\ndata: {json.dumps(chunk)}\n\n".encode()

    def start(self) -> bytes:
        message = {**self.message([], None), "usage": {**self.fake.usage, "output_tokens": 1}}
        return self.event({"type": "message_start", "message": message})

    def block(self, index: int, block: dict[str, Any], deltas: list[dict[str, Any]]) -> list[bytes]:
        self.closed = True
        return [
            self.event({"type": "content_block_start", "index": index, "content_block": block}),
            *(self.event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas),
            self.event({"type": "content_block_stop", "index": index}),
        ]

    def begin_text(self) -> bytes:
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        return self.event(block) + self.event({"type": "ping"})

    def word(self, word: str) -> bytes:
        return self.event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})

    def finish_events(self, reason: str) -> list[bytes]:
        stop = [] if self.closed else [self.event({"type": "content_block_stop", "index": 0})]
        delta = {"stop_reason": reason, "stop_sequence": None}
        usage = {name: self.fake.usage[name] for name in ("output_tokens", "output_tokens_details")}
        return [
            *stop,
            self.event({"type": "message_delta", "delta": delta, "usage": usage}),
            self.event({"type": "message_stop"}),
        ]

    async def events(self, events: list[bytes]) -> bool:
        await self.head(200, "text/event-stream")
        for event in events:
            await self.chunk(event)
        await self.end()
        return True

    async def stream(self, words: list[str], pause_s: float = 0.0) -> bool:
        await self.head(200, "text/event-stream")
        try:
            await self.chunk(self.start() + self.begin_text())
            for word in words:
                await self.chunk(self.word(word))
        except ConnectionError:
            self.fake.aborted += 1
            raise
        for event in self.finish_events("end_turn"):
            await self.chunk(event)
        await self.end()
        return True


class VertexScript(AnthropicScript):
    """Anthropic's acts; the path says whether they stream, and the body which version they are in."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.streaming = self.target.endswith(":streamRawPredict")

    async def act_m1(self) -> bool:
        if self.target.endswith("/count-tokens:rawPredict"):
            return await self.json(200, {"input_tokens": 14})
        if self.body.get("anthropic_version") != "vertex-2023-10-16" or "model" in self.body:
            return await self.json(400, {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}})
        return await super().act_m1()


LIMITS = "anthropic-ratelimit-requests-remaining: 41\r\nrequest-id: req_1\r\nanthropic-organization-id: secret-org\r\n"
