"""Clients that speak OpenAI's legacy completions to upstreams that only chat.

One prompt becomes one message of the user. A chat model answers it and does not go on with it: that is the best that
can be had, and the reason why upstreams that can complete are asked natively.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, new_id
from tetrad.serving._operations import CHAT
from tetrad.serving.errors import BadAnswer, RequestRefused, StreamBroken
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._events import EventReader
from tetrad.serving.translation._kinds import Translation
from tetrad.serving.translation._saying import Losses, decoded, encoded, guarded

_SAME = (
    "model", "temperature", "top_p", "stream", "stop", "seed", "frequency_penalty", "presence_penalty", "logit_bias",
    "user",
)  # fmt: skip
_NEUTRAL: dict[str, Any] = {"n": 1, "best_of": 1, "echo": False, "suffix": ""}
_encode = msgspec.json.encode


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None
    refusal: str | None = None

    @property
    def text(self) -> str:
        return self.content or self.refusal or ""


class _Choice(msgspec.Struct, frozen=True):
    index: int | None = None
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Completion(msgspec.Struct, frozen=True):
    id: str | None = None
    created: int = 0
    model: str = ""
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_completions = msgspec.json.Decoder(_Completion)
_messages = msgspec.json.Decoder(list[_Message | None])


@guarded
def translate(call: ModelCall, strict: bool) -> Translation:
    """Return the call in chat completions; see `Translator`."""
    body, losses = decoded(call.fields), Losses(strict)
    said: dict[str, Any] = {name: body[name] for name in _SAME if name in body}
    said["messages"] = [{"role": "user", "content": _prompt(body.get("prompt"))}]
    if "max_tokens" in body:
        said["max_completion_tokens"] = body["max_tokens"]
    for name, value in body.items():
        known = name in said or name in ("prompt", "max_tokens", "stream_options")
        if not known and not (name in _NEUTRAL and value == _NEUTRAL[name]):
            losses.lose(name)
    if call.stream:
        said["stream_options"] = {"include_usage": True}
    fields = {**encoded(said), **call.unsaid}
    chat = ModelCall(CHAT, fields, call.stream, usage_asked=True, strict=call.strict)
    return _Answers(chat, losses.paths, call.usage_asked)


def _prompt(given: Any) -> str:
    prompt = given[0] if isinstance(given, list) and len(given) == 1 else given
    if not isinstance(prompt, str):
        raise RequestRefused(
            "the model's upstream only chats: it takes one prompt, as a text",
            param="prompt",
            hint="send one prompt a request, and no tokens",
            code="cannot_translate",
        )
    return prompt


class _Answers:
    def __init__(self, call: ModelCall, dropped: tuple[str, ...], usage_asked: bool) -> None:
        self.call = call
        self.dropped = dropped
        self._usage_asked = usage_asked

    def whole(self, body: bytes) -> bytes:
        answer = _read(body)
        choice = answer.choices[0] if answer.choices else _Choice()
        text = choice.message.text if choice.message else ""
        return _said(answer, answer.id or new_id("cmpl"), [_choice(text, choice.finish_reason or "stop")], answer.usage)

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        return status, body

    def events(self) -> _Events:
        return _Events(self._usage_asked)

    def outcome(self, outcome: Outcome) -> Outcome:
        if not outcome.output:
            return outcome
        try:
            texts = [message.text for message in _messages.decode(outcome.output)[:1] if message is not None]
        except UNREADABLE:
            return outcome
        return msgspec.structs.replace(outcome, output=_encode(texts))


class _Events:
    def __init__(self, usage_asked: bool) -> None:
        self.done = False
        self._usage_asked = usage_asked
        self._reader = EventReader()
        self._id = new_id("cmpl")
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        said: list[bytes] = []
        for payload in self._reader.feed(data):
            self._take(payload, said)
        return b"".join(said)

    def end(self) -> bytes:
        said: list[bytes] = []
        for payload in self._reader.rest():
            self._take(payload, said)
        if not self.done:
            if not self._ended:
                raise StreamBroken("the upstream's stream ended before its answer did", hint="try again")
            said.append(b"data: [DONE]\n\n")
            self.done = True
        return b"".join(said)

    def _take(self, payload: bytes, said: list[bytes]) -> None:
        if self.done:
            return
        if payload == b"[DONE]":
            self.done = True
            said.append(b"data: [DONE]\n\n")
            return
        chunk = _read(payload)
        if chunk.error is not None:
            said.append(b'data: {"error":' + _encode(chunk.error) + b"}\n\n")
            self.done = True
            return
        for choice in chunk.choices or ():
            if choice.index:
                continue  # one answer was asked for
            text = choice.delta.text if choice.delta else ""
            self._ended = self._ended or bool(choice.finish_reason)
            if text or choice.finish_reason:
                piece = _said(chunk, self._id, [_choice(text, choice.finish_reason)], None)
                said.append(b"data: " + piece + b"\n\n")
        if self._usage_asked and chunk.usage is not None:
            said.append(b"data: " + _said(chunk, self._id, [], chunk.usage) + b"\n\n")


def _read(body: bytes) -> _Completion:
    try:
        return _completions.decode(body)
    except UNREADABLE as error:
        raise BadAnswer(f"the upstream's answer is no chat completion: {error}") from None


def _choice(text: str, reason: str | None) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": reason}


def _said(answer: _Completion, identity: str, choices: list[dict[str, Any]], usage: Any) -> bytes:
    body: dict[str, Any] = {
        "id": identity,
        "object": "text_completion",
        "created": answer.created,
        "model": answer.model,
        "choices": choices,
    }
    if usage is not None:
        body["usage"] = usage
    return _encode(body)
