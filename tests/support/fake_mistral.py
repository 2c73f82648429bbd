"""An upstream that speaks Mistral's dialect: it refuses what it does not know."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from support.fake_openai import FakeOpenAI, Script

KNOWN = {
    "model", "messages", "temperature", "top_p", "stream", "stop", "n", "presence_penalty", "frequency_penalty",
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "prediction", "safe_prompt", "prompt_mode",
    "random_seed", "max_tokens", "metadata", "reasoning_effort",
}  # fmt: skip
MESSAGES = {"role", "content", "tool_calls", "tool_call_id", "name", "prefix"}


@dataclass
class FakeMistral(FakeOpenAI):
    """Like `FakeOpenAI`, strict, with usage at the end of every stream."""

    @property
    def script(self) -> type[Script]:
        return MistralScript


class MistralScript(Script):
    async def act_m1(self) -> bool:
        if self.target.endswith("/embeddings"):
            return await super().act_m1()
        strangers = set(self.body) - KNOWN
        for message in self.body["messages"]:
            strangers |= set(message) - MESSAGES
            ids = [call["id"] for call in message.get("tool_calls", ())] + [message.get("tool_call_id", "abcdefghi")]
            strangers |= {each for each in ids if not re.fullmatch("[A-Za-z0-9]{9}", each)}
        if strangers:
            detail = [{"type": "extra_forbidden", "loc": ["body", each]} for each in sorted(strangers)]
            return await self.json(422, {"detail": detail})
        return await super().act_m1()

    async def act_error(self) -> bool:
        status = int(self.argument)
        body = {"object": "error", "message": "as scripted", "type": f"type_{status}", "code": "1234"}
        return await self.json(status, body, extra="retry-after: 7\r\n")

    async def act_thinking(self) -> bool:
        thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Two and two."}]}
        if not self.streaming:
            whole = self.completion("")
            whole["choices"][0]["message"]["content"] = [thought, {"type": "text", "text": "4"}]
            return await self.json(200, whole)
        first = self.event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": [thought]}}]})
        return await self.events([first, self.word("4"), self.finish(), *self.usage_events(), b"data: [DONE]\n\n"])

    def usage_events(self) -> list[bytes]:
        return []

    def finish(self) -> bytes:
        choice: dict[str, Any] = {"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}
        return self.event({"choices": [choice], "usage": self.fake.usage})
