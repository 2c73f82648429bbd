"""Answers of upstreams that speak OpenAI's Responses, said to clients that speak chat completions.

A summary of reasoning, or what was thought aloud, is `reasoning_content`. What its maker wants back stands in
`extra_content.openai.blocks`, an entry for each item of reasoning: `encrypted_content` (see `openai_signatures`), and,
where any did, how much of `reasoning_content` came before its own text (`after_thought_chars`), how much of the
message's content (`after_chars`) and how many of its calls (`after_calls`) before the item.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._response_reading import (
    Event,
    Item,
    Response,
    ResponseEvents,
    read_items,
    read_response,
)
from tetrad.serving.translation.chat_answers import is_error, said_error
from tetrad.serving.translation.openai_signatures import BETWEEN, Reasoning
from tetrad.serving.translation.usage import chat_usage

_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
_encode = msgspec.json.encode


class ChatFromResponses:
    """A `Translation` whose answers come in responses and go out as chat completions."""

    def __init__(self, call: ModelCall, dropped: tuple[str, ...], maker: str, *, usage_asked: bool) -> None:
        self.call = call
        self.dropped = dropped
        self._maker = maker
        self._usage_asked = usage_asked

    def whole(self, body: bytes) -> bytes:
        answer = read_response(body)
        items = answer.output or []
        logprobs = [each for item in items for part in item.content or () for each in part.logprobs or ()]
        said = _head(answer, "chat.completion")
        said["choices"] = [
            {
                "index": 0,
                "message": _message(items, self._maker),
                "logprobs": {"content": logprobs, "refusal": None} if logprobs else None,
                "finish_reason": _finish(answer.cut, items),
            }
        ]
        usage = answer.tokens()
        if usage is not None:
            said["usage"] = chat_usage(usage)
        return _encode(said)

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        """Return it as it is, where it is one: both protocols tell errors in the same words."""
        return status, body if is_error(body) else said_error(status, body, "openai")

    def events(self) -> ChatEvents:
        return ChatEvents(self._maker, usage_asked=self._usage_asked)

    def outcome(self, outcome: Outcome) -> Outcome:
        """Return what became of the answer; what of its record cannot be read stays as it is."""
        try:
            items = read_items(outcome.output) if outcome.output else []
            output = _encode([_message(items, self._maker)]) if items else b""
        except UNREADABLE:
            items, output = [], outcome.output
        reasons = tuple(_finish(reason, items) for reason in outcome.finish_reasons[:1])
        return msgspec.structs.replace(outcome, finish_reasons=reasons, output=output)


def _head(answer: Response, kind: str) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": answer.id or "chatcmpl-unnamed",
        "object": kind,
        "created": int(answer.created_at or time.time()),
        "model": answer.model or "",
    }
    if answer.service_tier is not None:
        said["service_tier"] = answer.service_tier
    return said


def _finish(reason: str, items: list[Item]) -> str:
    called = any(item.is_call for item in items)
    return _REASONS.get(reason) or ("tool_calls" if called else "stop")


def _message(items: list[Item], maker: str) -> dict[str, Any]:
    parts = [part for item in items if item.type == "message" for part in item.content or ()]
    texts = [part.text for part in parts if part.text]
    refusals = [part.refusal for part in parts if part.refusal]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    message["refusal"] = "".join(refusals) if refusals else None
    thoughts, calls = _Thoughts(), []
    for item in items:
        if item.type == "reasoning":
            thoughts.take(*item.thought(maker))
        elif item.type == "message":
            thoughts.chars += sum(len(part.text or part.refusal or "") for part in item.content or ())
        elif item.is_call:
            thoughts.calls += 1
            calls.append(_call(item))
    if thoughts.texts:
        message["reasoning_content"] = "".join(thoughts.texts)
    if thoughts.blocks:
        message["extra_content"] = thoughts.extra
    if calls:
        message["tool_calls"] = calls
    return message


def _call(item: Item) -> dict[str, Any]:
    if item.type == "custom_tool_call":
        custom = {"name": item.name or "", "input": _written(item)}
        return {"id": item.call_id or "", "type": "custom", "custom": custom}
    function = {"name": item.name or "", "arguments": item.arguments or "{}"}
    return {"id": item.call_id or "", "type": "function", "function": function}


def _written(item: Item) -> str:
    return item.input if isinstance(item.input, str) else ""


class _Thoughts:
    """The items of reasoning of one answer; what is counted came before the next of them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.blocks: list[dict[str, Any]] = []
        self.chars = self.calls = self._thought_chars = 0

    def take(self, thought: Reasoning, text: str) -> str:
        """Add one; return it as it is carried. Only what carries something back is a block."""
        self.texts += [text] if text else []
        sealed = thought.sealed()
        if sealed:
            counts = {
                "after_thought_chars": self._thought_chars,
                "after_chars": self.chars,
                "after_calls": self.calls,
            }
            places = {name: count for name, count in counts.items() if count}
            self.blocks.append({"type": "reasoning", "encrypted_content": sealed, **places})
        self._thought_chars += len(text)
        return sealed

    @property
    def extra(self) -> dict[str, Any]:
        return {"openai": {"blocks": self.blocks}}


class ChatEvents(ResponseEvents):
    """Events of a response in, chunks of a chat completion out."""

    def __init__(self, maker: str, *, usage_asked: bool) -> None:
        super().__init__(maker)
        self._usage_asked = usage_asked
        self._head = b""
        self._thoughts = _Thoughts()
        self._numbers: dict[int, int] = {}
        """By item, the number of a call."""
        self._told: set[int] = set()
        """Items of which something was told."""
        self._summary: tuple[int, int] | None = None

    def _begin(self, response: Response, said: list[bytes]) -> None:
        self._head = b"data: " + _encode(_head(response, "chat.completion.chunk"))[:-1]
        said.append(self._chunk(b'{"role":"assistant","content":""}'))

    def _chunk(self, delta: bytes, logprobs: bytes = b"null") -> bytes:
        return b'%s,"choices":[{"index":0,"delta":%s,"logprobs":%s,"finish_reason":null}]}\n\n' % (
            self._head, delta, logprobs,
        )  # fmt: skip

    def _added(self, event: Event, item: Item, said: list[bytes]) -> None:
        place = event.output_index or 0
        if item.is_call and place not in self._numbers:
            number = self._numbers[place] = len(self._numbers)
            self._thoughts.calls += 1
            kind, field = ("custom", "input") if item.type == "custom_tool_call" else ("function", "arguments")
            begun = {"name": item.name or "", field: ""}
            call = {"index": number, "id": item.call_id or "", "type": kind, kind: begun}
            said.append(self._chunk(b'{"tool_calls":[' + _encode(call) + b"]}"))

    def _delta(self, kind: str, event: Event, text: str, said: list[bytes]) -> None:
        place = event.output_index or 0
        self._told.add(place)
        if kind == "response.output_text.delta":
            self._thoughts.chars += len(text)
            logprobs = _encode({"content": event.logprobs, "refusal": None}) if event.logprobs else b"null"
            said.append(self._chunk(b'{"content":' + _encode(text) + b"}", logprobs))
        elif kind == "response.refusal.delta":
            self._thoughts.chars += len(text)
            said.append(self._chunk(b'{"refusal":' + _encode(text) + b"}"))
        elif kind == "response.function_call_arguments.delta":
            said.append(self._arguments(place, text))
        elif kind == "response.custom_tool_call_input.delta":
            said.append(self._input(place, text))
        elif kind == "response.reasoning_summary_text.delta":
            part = (place, event.summary_index or 0)
            parted = self._summary is not None and self._summary[0] == place and self._summary != part
            self._summary = part
            said.append(self._thought(BETWEEN + text if parted else text))
        elif kind == "response.reasoning_text.delta":
            said.append(self._thought(text))

    def _thought(self, text: str) -> bytes:
        return self._chunk(b'{"reasoning_content":' + _encode(text) + b"}")

    def _arguments(self, place: int, text: str) -> bytes:
        number = self._numbers.get(place, 0)
        return self._chunk(b'{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}' % (number, _encode(text)))

    def _input(self, place: int, text: str) -> bytes:
        number = self._numbers.get(place, 0)
        return self._chunk(b'{"tool_calls":[{"index":%d,"custom":{"input":%s}}]}' % (number, _encode(text)))

    def _item(self, event: Event, item: Item, said: list[bytes]) -> None:
        """Tell what of an item was not told piece by piece."""
        place = event.output_index or 0
        if item.type == "reasoning":
            thought, text = item.thought(self._maker)
            self._carried(self._thoughts.take(thought, text))
            if text and place not in self._told:
                said.append(self._thought(text))
        elif item.type == "function_call":
            self._added(event, item, said)
            if place not in self._told:
                said.append(self._arguments(place, item.arguments or "{}"))
        elif item.type == "custom_tool_call":
            self._added(event, item, said)
            if place not in self._told and _written(item):
                said.append(self._input(place, _written(item)))
        elif item.type == "message" and place not in self._told:
            for part in item.content or ():
                self._thoughts.chars += len(part.text or part.refusal or "")
                told = {"content": part.text} if part.text else {"refusal": part.refusal}
                said.append(self._chunk(_encode(told)))

    def _ended(self, response: Response, said: list[bytes]) -> None:
        if self._thoughts.blocks:
            said.append(self._chunk(_encode({"extra_content": self._thoughts.extra})))
        reason = _REASONS.get(self._reason) or ("tool_calls" if self._numbers else "stop")
        said.append(b'%s,"choices":[{"index":0,"delta":{},"finish_reason":"%s"}]}\n\n' % (self._head, reason.encode()))
        usage = response.tokens()
        if self._usage_asked and usage is not None:
            said.append(b'%s,"choices":[],"usage":%s}\n\n' % (self._head, _encode(chat_usage(usage))))
        said.append(b"data: [DONE]\n\n")
