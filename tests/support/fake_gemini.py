"""An upstream that speaks Google's generateContent on a raw socket and misbehaves as scripted by the model's name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from support.fake_openai import WORDS, FakeOpenAI, Script

SIGNATURE = "CsYBAVKhWnq/sig+nature=="
TOOLS = [("weather", {"city": "Oslo"}), ("now", {})]


@dataclass
class FakeGemini(FakeOpenAI):
    """Like `FakeOpenAI`, in Google's protocol; `/token` hands out tokens for statements."""

    usage: dict[str, Any] = field(
        default_factory=lambda: {
            "promptTokenCount": 12,
            "cachedContentTokenCount": 2,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 1,
            "totalTokenCount": 17,
        }
    )
    tokens: int = 0

    @property
    def script(self) -> type[Script]:
        return GeminiScript

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1beta"

    @property
    def vertex_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/projects/p/locations/l/publishers/google"

    def model_of(self, target: str, body: dict[str, Any]) -> str:
        found = re.search(r"/models/([^:?]+):", target)
        return unquote(found[1]) if found else "listed"


class GeminiScript(Script):
    """Acts of Google's protocol; those that only break connections are `Script`'s."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.streaming = ":streamGenerateContent?alt=sse" in self.target

    async def act_listed(self) -> bool:
        names = ["models/gemini-2.5-flash", "models/gemini-3-pro"]
        return await self.json(200, {"models": [{"name": name} for name in names]})

    async def act_m1(self) -> bool:
        if self.target.endswith(":countTokens"):
            return await self.json(200, {"totalTokens": 14, "totalBillableCharacters": 40})
        if self.target.endswith(":batchEmbedContents"):
            texts = [each["content"]["parts"][0]["text"] for each in self.body["requests"]]
            if len(texts) > 100:
                return await self.json(400, {"error": {"code": 400, "message": "at most 100 requests"}})
            body = {"embeddings": [{"values": [len(each), 0.25]} for each in texts]}
            return await self.json(200, {**body, "usageMetadata": {"promptTokenCount": sum(map(len, texts))}})
        if self.target.endswith(":predict"):
            texts = [each["content"] for each in self.body["instances"]]
            if len(texts) > 250:
                return await self.json(400, {"error": {"code": 400, "message": "at most 250 instances"}})
            made = [
                {"values": [len(each), 0.25], "statistics": {"truncated": False, "token_count": len(each)}}
                for each in texts
            ]
            return await self.json(200, {"predictions": [{"embeddings": each} for each in made]})
        return await self.say([[{"text": word}] for word in WORDS])

    async def act_fewer(self) -> bool:
        if self.target.endswith(":predict"):
            return await self.json(200, {"predictions": []})
        return await self.json(200, {"embeddings": []})

    async def act_tools(self) -> bool:
        if self.target.endswith(":countTokens"):
            return await self.act_m1()
        parts = [{"functionCall": {"name": name, "args": given}} for name, given in TOOLS]
        parts[0]["thoughtSignature"] = SIGNATURE
        return await self.say([[part] for part in parts])

    async def act_agent(self) -> bool:
        """Call a tool first; once its result is there, and the signature with it, say what it was."""
        contents = self.body["contents"]
        results = [
            part["functionResponse"] for each in contents for part in each["parts"] if "functionResponse" in part
        ]
        calls = [part for each in contents for part in each["parts"] if "functionCall" in part]
        if any(part.get("thoughtSignature") != SIGNATURE for part in calls):
            message = "Function call is missing a thought_signature in functionCall parts."
            return await self.json(400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})
        if results:
            return await self.say([[{"text": f"It is {results[-1]['response']['result']}."}]])
        thought = {"text": "I should look.", "thought": True}
        call = {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}, "thoughtSignature": SIGNATURE}
        return await self.say([[thought], [call]])

    async def act_thinking(self) -> bool:
        thoughts = [[{"text": text, "thought": True}] for text in ("Two and two", " are four.")]
        return await self.say([*thoughts, [{"text": "4", "thoughtSignature": SIGNATURE}]])

    async def act_refusal(self) -> bool:
        return await self.say([[]], reason="SAFETY")

    async def act_blocked(self) -> bool:
        body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 12}}
        if self.streaming:
            return await self.send([self.event(body)])
        return await self.json(200, body)

    async def act_malformed(self) -> bool:
        return await self.say([[]], reason="MALFORMED_FUNCTION_CALL")

    async def act_error(self) -> bool:
        status = int(self.argument)
        name = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
        error = {"code": status, "message": "as scripted", "status": name.get(status, f"CODE_{status}")}
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "6.2s"}]
        return await self.json(status, {"error": {**error, "details": details}})

    async def act_badkey(self) -> bool:
        message = "API key not valid. Please pass a valid API key."
        error = {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}
        return await self.json(400, {"error": {**error, "details": [{"reason": "API_KEY_INVALID"}]}})

    async def act_context(self) -> bool:
        message = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
        return await self.json(400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})

    async def act_stallmid(self) -> bool:
        await self.head(200, "text/event-stream")
        await self.chunk(self.piece([{"text": "Hel"}]))
        await self.gone()
        return False

    async def act_endless(self) -> bool:
        await self.head(200, "text/event-stream")
        try:
            while True:
                await self.chunk(self.piece([{"text": "x" * 4000}]))
        except ConnectionError:
            self.fake.aborted += 1
            raise

    async def act_nodone(self) -> bool:
        return await self.send([self.piece([{"text": word}]) for word in WORDS])

    async def act_midway(self) -> bool:
        error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
        return await self.send([self.piece([{"text": "Hel"}]), self.event(error)])

    async def act_split(self) -> bool:
        events = b"".join([*(self.piece([{"text": word}]) for word in WORDS), self.last("STOP")])
        return await self.send([events[i : i + 1] for i in range(len(events))])

    # pieces

    def answer(self, parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **more}
        return {"candidates": [candidate], "modelVersion": "gemini-2026", "responseId": "resp-1"}

    def event(self, body: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps(body).encode() + b"\r\n\r\n"

    def piece(self, parts: list[dict[str, Any]]) -> bytes:
        early = {**self.fake.usage, "candidatesTokenCount": 1}
        return self.event({**self.answer(parts), "usageMetadata": early})

    def last(self, reason: str) -> bytes:
        return self.event({**self.answer([], finishReason=reason), "usageMetadata": self.fake.usage})

    async def say(self, pieces: list[list[dict[str, Any]]], reason: str = "STOP") -> bool:
        if self.streaming:
            return await self.send([*map(self.piece, pieces), self.last(reason)])
        parts: list[dict[str, Any]] = []
        for part in (each for piece in pieces for each in piece):
            if parts and set(part) == set(parts[-1]) == {"text"}:
                parts[-1] = {"text": parts[-1]["text"] + part["text"]}
            else:
                parts.append(part)
        whole = {**self.answer(parts, finishReason=reason), "usageMetadata": self.fake.usage}
        return await self.json(200, whole)

    async def send(self, pieces: list[bytes]) -> bool:
        await self.head(200, "text/event-stream")
        for piece in pieces:
            await self.chunk(piece)
        await self.end()
        return True
