"""An upstream that speaks Amazon Bedrock on a raw socket and misbehaves as scripted by the model's name.

`m1` is called through Converse, `anthropic.m1` in Anthropic's protocol.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from support.fake_anthropic import AnthropicScript
from support.fake_openai import WORDS, FakeOpenAI, Script

STREAM = "application/vnd.amazon.eventstream"
TOOLS = [("tooluse_1", "weather", '{"city": "Oslo"}'), ("tooluse_2", "now", "{}")]


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """Return a message of an event stream, by its specification."""
    packed = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(packed) + len(payload), len(packed))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + packed + payload
    return message + struct.pack(">I", zlib.crc32(message))


def event(name: str, body: Any) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, json.dumps(body).encode())


def failure(name: str, message: str) -> bytes:
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, json.dumps({"message": message}).encode())


@dataclass
class FakeBedrock(FakeOpenAI):
    """Like `FakeOpenAI`, with Bedrock's paths and frames."""

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
    converse_usage: dict[str, Any] = field(
        default_factory=lambda: {
            "inputTokens": 10,
            "outputTokens": 5,
            "totalTokens": 24,
            "cacheReadInputTokens": 2,
            "cacheWriteInputTokens": 7,
            "cacheDetails": [{"inputTokens": 4, "ttl": "5m"}, {"inputTokens": 3, "ttl": "1h"}],
        }
    )

    @property
    def script(self) -> type[Script]:
        last = self.requests[-1].target if self.requests else ""
        if "embed" in last:
            return EmbedScript
        return InvokeScript if "/invoke" in last else ConverseScript

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def model_of(self, target: str, body: dict[str, Any]) -> str:
        found = re.search(r"/model/([^/]+)/", target)
        if found is None:
            return "listed"
        return re.sub(r"^(anthropic|amazon\.titan-embed|cohere\.embed)\.", "", unquote(found[1]))


class AwsErrors(Script):
    """How Amazon refuses."""

    async def act_error(self) -> bool:
        status = int(self.argument)
        kind = {400: "ValidationException", 404: "ResourceNotFoundException", 429: "ThrottlingException"}
        extra = f"retry-after: 7\r\nx-amzn-errortype: {kind.get(status, 'InternalServerException')}:http://x/\r\n"
        return await self.json(status, {"message": "as scripted"}, extra=extra)

    async def act_context(self) -> bool:
        extra = "x-amzn-errortype: ValidationException\r\n"
        return await self.json(400, {"message": "Input is too long for requested model."}, extra=extra)


class EmbedScript(AwsErrors):
    """Models that embed: of Titan one text a call, of Cohere at most 96. A vector is its text's length, and a third."""

    fake: FakeBedrock

    async def act_m1(self) -> bool:
        if "titan" in self.target:
            text = self.body["inputText"]
            body = {"embedding": [len(text), 0.25], "inputTextTokenCount": len(text)}
            return await self.json(200, {**body, "embeddingsByType": {"float": body["embedding"]}})
        texts = self.body["texts"]
        if not 1 <= len(texts) <= 96 or "input_type" not in self.body:
            return await self.json(400, {"message": "malformed input request"})
        body = {"id": "e-1", "response_type": "embeddings_by_type", "texts": texts}
        vectors = {"float": [[len(each), 0.25] for each in texts]}
        extra = f"x-amzn-bedrock-input-token-count: {sum(map(len, texts))}\r\n"
        return await self.json(200, {**body, "embeddings": vectors}, extra=extra)

    async def act_fewer(self) -> bool:
        if "titan" in self.target:
            return await self.json(200, {"embedding": []})
        return await self.json(200, {"embeddings": [[1.0]] * (len(self.body["texts"]) + 1)})


class InvokeScript(AwsErrors, AnthropicScript):
    """Anthropic's acts; their events come in frames."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.streaming = self.target.endswith("/invoke-with-response-stream")
        self._pending = b""

    async def head(self, status: int, content_type: str) -> None:
        await super().head(status, STREAM if content_type == "text/event-stream" else content_type)

    async def chunk(self, data: bytes) -> None:
        self._pending += data
        *events, self._pending = self._pending.split(b"\n\n")
        for each in events:
            payload = each.split(b"data: ", 1)[1]
            body = {"bytes": base64.b64encode(payload).decode(), "p": "abcd"}
            await super().chunk(event("chunk", body))

    async def act_overloaded(self) -> bool:
        await self.head(200, "text/event-stream")
        await self.chunk(self.start() + self.begin_text() + self.word("Hel"))
        await Script.chunk(self, failure("throttlingException", "Too many tokens, wait."))
        await self.end()
        return True


class ConverseScript(AwsErrors):
    """Acts of Converse; those that only break connections are `Script`'s."""

    fake: FakeBedrock

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.streaming = self.target.endswith("/converse-stream")

    async def act_listed(self) -> bool:
        names = ["amazon.nova-lite-v1:0", "anthropic.claude-sonnet-5"]
        return await self.json(200, {"modelSummaries": [{"modelId": name} for name in names]})

    async def act_m1(self) -> bool:
        if self.target.endswith("/count-tokens"):
            return await self.json(200, {"inputTokens": 14})
        if self.streaming:
            return await self.send([event("messageStart", {"role": "assistant"}), *map(self.word, WORDS), *self.last()])
        return await self.json(200, self.whole([{"text": "".join(WORDS)}]))

    async def act_tools(self) -> bool:
        if not self.streaming:
            blocks = [{"toolUse": {"toolUseId": i, "name": n, "input": json.loads(g)}} for i, n, g in TOOLS]
            return await self.json(200, self.whole(blocks, "tool_use"))
        frames = [event("messageStart", {"role": "assistant"})]
        for at, (identity, name, given) in enumerate(TOOLS):
            start = {"toolUse": {"toolUseId": identity, "name": name}}
            frames.append(event("contentBlockStart", {"start": start, "contentBlockIndex": at}))
            for piece in (given[:5], given[5:]):
                delta = {"toolUse": {"input": piece}}
                frames.append(event("contentBlockDelta", {"delta": delta, "contentBlockIndex": at}))
            frames.append(event("contentBlockStop", {"contentBlockIndex": at}))
        return await self.send([*frames, *self.last("tool_use", stop=False)])

    async def act_thinking(self) -> bool:
        if not self.streaming:
            thought = {"reasoningText": {"text": "Two and two are four.", "signature": "sig"}}
            return await self.json(200, self.whole([{"reasoningContent": thought}, {"text": "4"}]))
        deltas = [{"text": "Two and two"}, {"text": " are four."}, {"signature": "sig"}]
        frames = [
            event("contentBlockDelta", {"delta": {"reasoningContent": each}, "contentBlockIndex": 0}) for each in deltas
        ]
        answer = event("contentBlockDelta", {"delta": {"text": "4"}, "contentBlockIndex": 1})
        return await self.send([event("messageStart", {"role": "assistant"}), *frames, answer, *self.last(at=1)])

    async def act_refusal(self) -> bool:
        if self.streaming:
            return await self.send([event("messageStart", {"role": "assistant"}), *self.last("content_filtered")])
        return await self.json(200, self.whole([], "content_filtered"))

    async def act_midway(self) -> bool:
        late = failure("throttlingException", "Too many tokens, wait.")
        return await self.send([event("messageStart", {"role": "assistant"}), self.word("Hel"), late])

    async def act_damaged(self) -> bool:
        """One bit of the second message is wrong."""
        bad = bytearray(self.word("Hel"))
        bad[-6] ^= 1
        return await self.send([event("messageStart", {"role": "assistant"}), bytes(bad), *self.last()])

    async def act_torn(self) -> bool:
        return await self.send([event("messageStart", {"role": "assistant"}), self.word("Hel")[:-3]])

    async def act_stallmid(self) -> bool:
        await self.head(200, STREAM)
        await self.chunk(event("messageStart", {"role": "assistant"}) + self.word("Hel"))
        await self.gone()
        return False

    async def act_endless(self) -> bool:
        await self.head(200, STREAM)
        try:
            while True:
                await self.chunk(self.word("x" * 4000))
        except ConnectionError:
            self.fake.aborted += 1
            raise

    async def act_nodone(self) -> bool:
        return await self.send([event("messageStart", {"role": "assistant"}), *map(self.word, WORDS)])

    async def act_split(self) -> bool:
        data = b"".join([event("messageStart", {"role": "assistant"}), *map(self.word, WORDS), *self.last()])
        return await self.send([data[i : i + 1] for i in range(len(data))])

    # pieces

    def whole(self, blocks: list[dict[str, Any]], reason: str = "end_turn") -> dict[str, Any]:
        return {
            "output": {"message": {"role": "assistant", "content": blocks}},
            "stopReason": reason,
            "usage": self.fake.converse_usage,
            "metrics": {"latencyMs": 5},
        }

    def word(self, word: str) -> bytes:
        return event("contentBlockDelta", {"delta": {"text": word}, "contentBlockIndex": 0, "p": "abc"})

    def last(self, reason: str = "end_turn", *, at: int = 0, stop: bool = True) -> list[bytes]:
        return [
            *([event("contentBlockStop", {"contentBlockIndex": at})] if stop else []),
            event("messageStop", {"stopReason": reason}),
            event("metadata", {"usage": self.fake.converse_usage, "metrics": {"latencyMs": 5}}),
        ]

    async def send(self, frames: list[bytes]) -> bool:
        await self.head(200, STREAM)
        for each in frames:
            await self.chunk(each)
        await self.end()
        return True
