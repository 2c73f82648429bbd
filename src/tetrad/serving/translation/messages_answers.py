"""Answers of upstreams that speak Anthropic's Messages, said to clients that speak chat completions.

Thinking becomes `reasoning_content`. What Anthropic wants back with it stands in `extra_content.anthropic`:
`signature`, and, where there is more than one block of thinking, `blocks`: for each its type and how many characters
of `reasoning_content` are its own (`chars`) with its signature, or its `data` where it was redacted. `after_chars` and
`after_calls` tell how much of the message's content, and how many of its calls, came before it, where any did.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, TetradError
from tetrad.serving.errors import BadAnswer, StreamBroken, error_body, error_event
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._events import StreamTranslator
from tetrad.serving.translation.anthropic_signatures import MAX_THOUGHTS
from tetrad.serving.translation.usage import MessagesUsage, chat_usage, read_messages_usage

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
MAX_STATE_CHARS = 4 * 1024 * 1024
_STATUSES = {529: 503}
_ERROR_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 503,
}
_NOTHING = msgspec.Raw(b"")


class _Block(msgspec.Struct, frozen=True):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _NOTHING


class _Details(msgspec.Struct, frozen=True):
    explanation: str | None = None


class _Message(msgspec.Struct, frozen=True):
    id: str | None = None
    model: str | None = None
    content: list[_Block] | str | None = None
    stop_reason: str | None = None
    stop_details: _Details | None = None
    usage: msgspec.Raw = _NOTHING


class _Delta(msgspec.Struct, frozen=True):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_details: _Details | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str | None = None
    index: int | None = None
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


class _Error(msgspec.Struct, frozen=True):
    type: str | None = None
    message: str | None = None


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _Error


_messages = msgspec.json.Decoder(_Message)
_lists = msgspec.json.Decoder(list[_Message])
_events = msgspec.json.Decoder(_Event)
_errors = msgspec.json.Decoder(_ErrorBody)
_error_details = msgspec.json.Decoder(_Error)
_encode = msgspec.json.encode


class MessagesAnswers:
    """A `Translation` whose answers come in messages and go out as chat completions.

    With `on` these are said once more, in another protocol: then `blocks` has an entry for every block of thinking, and
    a stream tells each of them as soon as it is whole.
    """

    def __init__(self, call: ModelCall, dropped: tuple[str, ...], *, usage_asked: bool, on: bool = False) -> None:
        self.call = call
        self.dropped = dropped
        self._usage_asked = usage_asked
        self._on = on

    def whole(self, body: bytes) -> bytes:
        try:
            answer = _messages.decode(body)
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's answer is no message: {error}") from None
        choice = {
            "index": 0,
            "message": _message(answer, on=self._on),
            "logprobs": None,
            "finish_reason": FINISH_REASONS.get(answer.stop_reason or "", "stop"),
        }
        said: dict[str, Any] = {
            "id": answer.id or "chatcmpl-unnamed",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": answer.model or "",
            "choices": [choice],
        }
        usage = read_messages_usage(answer.usage)
        if usage is not None:
            said["usage"] = chat_usage(usage.usage())
        return _encode(said)

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        try:
            said = _errors.decode(body).error
        except UNREADABLE:
            said = _Error(message=body[:1000].decode("utf-8", "replace"))
        status = _STATUSES.get(status, status)
        return status, error_body(_as_error(said, status))

    def events(self) -> MessagesEvents:
        return MessagesEvents(usage_asked=self._usage_asked, on=self._on)

    def outcome(self, outcome: Outcome) -> Outcome:
        reasons = tuple(FINISH_REASONS.get(reason, "stop") for reason in outcome.finish_reasons)
        return msgspec.structs.replace(outcome, finish_reasons=reasons, output=_output(outcome.output, on=self._on))


def _output(output: bytes, *, on: bool) -> bytes:
    """Return recorded messages as the client got them; what cannot be read stays as it is."""
    if not output:
        return output
    try:
        return _encode([_message(message, on=on) for message in _lists.decode(output)])
    except UNREADABLE:
        return output


def _message(answer: _Message, *, on: bool) -> dict[str, Any]:
    blocks = [_Block(type="text", text=answer.content)] if isinstance(answer.content, str) else answer.content or []
    texts = [block.text or "" for block in blocks if block.type == "text"]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    refused = answer.stop_reason == "refusal" and answer.stop_details is not None
    if refused and answer.stop_details is not None and answer.stop_details.explanation:
        message["refusal"] = answer.stop_details.explanation
    thoughts = _Thoughts(on=on)
    for block in blocks:
        thoughts.take(block)
    if thoughts.text:
        message["reasoning_content"] = "".join(thoughts.text)
    if thoughts.blocks:
        message["extra_content"] = {"anthropic": thoughts.state(all_of_it=True)}
    calls = [
        {
            "id": block.id or "",
            "type": "function",
            "function": {"name": block.name or "", "arguments": (bytes(block.input) or b"{}").decode()},
        }
        for block in blocks
        if block.type == "tool_use"
    ]
    if calls:
        message["tool_calls"] = calls
    return message


class _Thoughts:
    """The blocks of thinking of one answer, as a chat client carries them.

    `chars` and `calls` count what came before the next of them.
    """

    def __init__(self, *, on: bool) -> None:
        self.text: list[str] = []
        self.blocks: list[dict[str, Any]] = []
        self.chars = self.calls = 0
        self._on = on
        self._size = 0

    def take(self, block: _Block) -> None:
        if block.type == "thinking":
            text = block.thinking or ""
            self.text.append(text)
            self.thought(len(text), block.signature or "", self.place())
        elif block.type == "redacted_thinking":
            self.redacted(block.data or "")
        elif block.type == "text":
            self.chars += len(block.text or "")
        elif block.type == "tool_use":
            self.calls += 1

    def place(self) -> dict[str, int]:
        """Return where a block stands that begins now; nothing where it is the first thing said."""
        counts = {"after_chars": self.chars, "after_calls": self.calls}
        return {name: count for name, count in counts.items() if count}

    def thought(self, chars: int, signature: str, place: dict[str, int]) -> None:
        self._add({"type": "thinking", "chars": chars, "signature": signature, **place})

    def redacted(self, data: str) -> None:
        self._add({"type": "redacted_thinking", "data": data, **self.place()})

    def _add(self, said: dict[str, Any]) -> None:
        self.blocks.append({"index": len(self.blocks), **said})
        self._size += len(said.get("signature", "")) + len(said.get("data", ""))
        if len(self.blocks) > MAX_THOUGHTS or self._size > MAX_STATE_CHARS:
            raise BadAnswer("the answer carries more signatures of thinking than can be kept")

    @property
    def single(self) -> bool:
        """Tell whether a signature alone says everything."""
        if self._on or len(self.blocks) != 1:
            return False
        first = self.blocks[0]
        return first["type"] == "thinking" and not (first.get("after_chars") or first.get("after_calls"))

    def state(self, *, all_of_it: bool) -> dict[str, Any]:
        """Return what is to come back; in a stream the first signature has gone out before."""
        if self.single:
            return {"signature": self.blocks[0]["signature"]}
        said: dict[str, Any] = {"blocks": self.blocks}
        if all_of_it and not self._on and self.blocks[0]["type"] == "thinking":
            said["signature"] = self.blocks[0]["signature"]
        return said


def _as_error(said: _Error, status: int) -> TetradError:
    return TetradError(said.message or "the upstream failed", code=said.type or "upstream_error", status=status)


class MessagesEvents(StreamTranslator):
    """Events of a message in, chunks of a chat completion out."""

    def __init__(self, *, usage_asked: bool, on: bool = False) -> None:
        super().__init__()
        self._usage_asked = usage_asked
        self._on = on
        self._head = b""
        self._kind = ""
        self._thinking = 0
        self._place: dict[str, int] = {}
        self._signature = ""
        self._arguments = False
        self._thoughts = _Thoughts(on=on)
        self._reason = ""
        self._usage = MessagesUsage()

    def _take(self, payload: bytes, said: list[bytes]) -> None:
        try:
            event = _events.decode(payload)
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's stream holds what is no event of a message: {error}") from None
        kind = event.type
        if kind == "content_block_delta":
            if event.delta is not None:
                self._delta(event.delta, said)
        elif kind == "content_block_start":
            self._start(event.content_block or _Block(), said)
        elif kind == "content_block_stop":
            self._stop(said)
        elif kind == "message_start":
            self._begin(event.message or _Message(), said)
        elif kind == "message_delta":
            self._note(event)
        elif kind == "message_stop":
            self._stop(said)
            self._finish(said)
        elif kind == "error":
            said.append(_told(bytes(event.error)))
            self.done = True

    def _begin(self, message: _Message, said: list[bytes]) -> None:
        self._name(message)
        self._usage = read_messages_usage(message.usage) or self._usage
        said.append(self._chunk(b'{"role":"assistant","content":""}'))

    def _name(self, message: _Message) -> None:
        head = {
            "id": message.id or "chatcmpl-unnamed",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": message.model or "",
        }
        self._head = b"data: " + _encode(head)[:-1]

    def _note(self, event: _Event) -> None:
        if event.delta is not None and event.delta.stop_reason:
            self._reason = event.delta.stop_reason
        later = read_messages_usage(event.usage)
        if later is not None:
            self._usage = self._usage.updated(later)

    def _start(self, block: _Block, said: list[bytes]) -> None:
        self._stop(said)
        self._kind = block.type or ""
        if self._kind == "tool_use":
            self._thoughts.calls += 1
            given = bytes(block.input).strip()
            self._arguments = given not in (b"", b"{}", b"null")
            function = {"name": block.name or "", "arguments": given.decode() if self._arguments else ""}
            call = {"index": self._call, "id": block.id or "", "type": "function", "function": function}
            said.append(self._chunk(b'{"tool_calls":[' + _encode(call) + b"]}"))
        elif self._kind == "thinking":
            self._thinking, self._signature, self._place = 0, block.signature or "", self._thoughts.place()
            if block.thinking:
                self._delta(_Delta(type="thinking_delta", thinking=block.thinking), said)
        elif self._kind == "redacted_thinking":
            self._thoughts.redacted(block.data or "")
            if self._on:
                said.append(self._last())
        elif self._kind == "text" and block.text:
            self._delta(_Delta(type="text_delta", text=block.text), said)

    def _delta(self, delta: _Delta, said: list[bytes]) -> None:
        kind = delta.type
        if kind == "text_delta":
            if delta.text:
                self._thoughts.chars += len(delta.text)
                said.append(self._chunk(b'{"content":' + _encode(delta.text) + b"}"))
        elif kind == "input_json_delta":
            if delta.partial_json and self._kind == "tool_use":
                self._arguments = True
                said.append(self._fragment(delta.partial_json))
        elif kind == "thinking_delta":
            if delta.thinking:
                self._thinking += len(delta.thinking)
                said.append(self._chunk(b'{"reasoning_content":' + _encode(delta.thinking) + b"}"))
        elif kind == "signature_delta":
            self._signature += delta.signature or ""
            if len(self._signature) > MAX_STATE_CHARS:
                raise BadAnswer("the signature of the answer's thinking is endless")

    def _fragment(self, text: str) -> bytes:
        return self._chunk(b'{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}' % (self._call, _encode(text)))

    @property
    def _call(self) -> int:
        """The number of the call that is being said."""
        return self._thoughts.calls - 1

    def _stop(self, said: list[bytes]) -> None:
        kind, self._kind = self._kind, ""
        if kind == "tool_use" and not self._arguments:
            said.append(self._fragment("{}"))
        elif kind == "thinking":
            self._thoughts.thought(self._thinking, self._signature, self._place)
            if self._on:
                said.append(self._last())
            elif self._thoughts.single:
                said.append(self._extra(self._thoughts.state(all_of_it=False)))

    def _last(self) -> bytes:
        return self._extra({"blocks": self._thoughts.blocks[-1:]})

    def _extra(self, state: dict[str, Any]) -> bytes:
        return self._chunk(b'{"extra_content":{"anthropic":' + _encode(state) + b"}}")

    def _chunk(self, delta: bytes) -> bytes:
        if not self._head:
            self._name(_Message())
        return b'%s,"choices":[{"index":0,"delta":%s,"finish_reason":null}]}\n\n' % (self._head, delta)

    def _finish(self, said: list[bytes]) -> None:
        if not self._head:
            raise StreamBroken("the upstream's stream holds no answer", hint="try again")
        if self._thoughts.blocks and not (self._on or self._thoughts.single):
            said.append(self._extra(self._thoughts.state(all_of_it=False)))
        reason = FINISH_REASONS.get(self._reason, "stop")
        said.append(b'%s,"choices":[{"index":0,"delta":{},"finish_reason":"%s"}]}\n\n' % (self._head, reason.encode()))
        if self._usage_asked:
            usage = _encode(chat_usage(self._usage.usage()))
            said.append(b'%s,"choices":[],"usage":%s}\n\n' % (self._head, usage))
        said.append(b"data: [DONE]\n\n")
        self.done = True


def _told(raw: bytes) -> bytes:
    try:
        said = _error_details.decode(raw)
    except UNREADABLE:
        said = _Error(message=raw[:1000].decode("utf-8", "replace"))
    return error_event(_as_error(said, _ERROR_STATUSES.get(said.type or "", 500)))
