"""Answers of upstreams that speak chat completions, said to clients that speak Anthropic's Messages.

What Google signs of a model's thoughts (`extra_content.google.thought_signature`, of a call or of the message) has no
words in Messages, and the next turn of a tool loop is refused without it. It is said as `redacted_thinking`, which
clients send back unread: before the call that it belongs to, or behind the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, TetradError, Usage
from tetrad.serving._operations import Dialect
from tetrad.serving.errors import BadAnswer, StreamBroken, error_body, error_event
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._events import StreamTranslator
from tetrad.serving.translation.google_signatures import Extra, google_signature, sealed, unsealed
from tetrad.serving.translation.usage import messages_usage, usage_of_chat

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
MAX_ARGUMENT_BYTES = 8 * 1024 * 1024
MAX_CALLS = 1024
_MOST_LOOKS = 64

_NOTHING = msgspec.Raw(b"")


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: Extra | None = None


class _Message(msgspec.Struct, frozen=True):
    """A message of an answer, or what a chunk adds to it."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None
    extra_content: Extra | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int | None = None
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    """Which stop sequence it was, where a server tells (vLLM)."""


class _Completion(msgspec.Struct, frozen=True):
    """A whole answer, or a chunk of one."""

    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


class _Error(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _Error | str


_completions = msgspec.json.Decoder(_Completion)
_errors = msgspec.json.Decoder(_ErrorBody)
_error_details = msgspec.json.Decoder(_Error | str)
_messages = msgspec.json.Decoder(list[_Message | None])
_objects = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.encode


class ChatAnswers:
    """A `Translation` whose answers come in chat completions and go out as messages."""

    def __init__(self, call: ModelCall, dropped: tuple[str, ...], origins: Sequence[tuple[str, bool]] = ()) -> None:
        self.call = call
        self.dropped = dropped
        self.origins = origins

    def whole(self, body: bytes) -> bytes:
        try:
            answer = _completions.decode(body)
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's answer is no chat completion: {error}") from None
        choice = answer.choices[0] if answer.choices else _Choice()
        message = choice.message or _Message()
        reason, sequence = _stop(choice, bool(message.tool_calls), bool(message.refusal))
        return _encode(
            {
                "id": answer.id or "msg_unnamed",
                "type": "message",
                "role": "assistant",
                "model": answer.model or "",
                "content": _blocks(message),
                "stop_reason": reason,
                "stop_sequence": sequence,
                "usage": messages_usage(usage_of_chat(answer.usage)),
            }
        )

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        return status, said_error(status, body)

    def events(self) -> ChatEvents:
        return ChatEvents()

    def outcome(self, outcome: Outcome) -> Outcome:
        reasons = tuple(STOP_REASONS.get(reason, "end_turn") for reason in outcome.finish_reasons[:1])
        return msgspec.structs.replace(outcome, finish_reasons=reasons, output=_output(outcome.output))


def is_error(body: bytes) -> bool:
    """Tell whether a body is an error in OpenAI's words, with a message."""
    try:
        said = _errors.decode(body).error
    except UNREADABLE:
        return False
    return isinstance(said, _Error) and bool(said.message)


def said_error(status: int, body: bytes, dialect: Dialect = "anthropic") -> bytes:
    """Return an error in OpenAI's words, or in none, in those of a dialect."""
    try:
        said = _errors.decode(body).error
    except UNREADABLE:
        said = _Error(message=body[:1000].decode("utf-8", "replace"))
    return error_body(_as_error(said, status), dialect)


def _output(output: bytes) -> bytes:
    """Return recorded messages as the client got them; what cannot be read stays as it is."""
    if not output:
        return output
    try:
        messages = _messages.decode(output)[:1]
        said = [{"role": "assistant", "content": _blocks(message)} for message in messages if message is not None]
    except (*UNREADABLE, TetradError):
        return output
    return _encode(said)


def _stop(choice: _Choice, called: bool, refused: bool) -> tuple[str, str | None]:
    if refused:
        return "refusal", None
    if isinstance(choice.stop_reason, str) and choice.stop_reason and choice.finish_reason == "stop":
        return "stop_sequence", choice.stop_reason
    reason = STOP_REASONS.get(choice.finish_reason or "stop", "end_turn")
    return ("tool_use" if called and reason == "end_turn" else reason), None


def _blocks(message: _Message) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    thoughts = message.reasoning_content or message.reasoning
    if thoughts:
        blocks.append({"type": "thinking", "thinking": thoughts, "signature": _signature(message)})
    blocks += [{"type": "text", "text": text} for text in (message.content, message.refusal) if text]
    if signature := google_signature(message.extra_content):
        blocks.append(_signed("text", signature))
    for call in message.tool_calls or ():
        function = call.function or _Function()
        name = function.name or ""
        if signature := google_signature(call.extra_content):
            blocks.append(_signed("call", signature))
        blocks.append(
            {"type": "tool_use", "id": call.id or "", "name": name, "input": _arguments(function.arguments, name)}
        )
    return blocks


def _signature(message: _Message) -> str:
    extra = message.extra_content
    return (extra.anthropic.signature if extra and extra.anthropic else None) or ""


def _signed(what: str, signature: str) -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": sealed(what, signature)}


def read_google_signature(block: dict[str, Any]) -> tuple[str, str] | None:
    """Return what is signed (`text` or `call`) and the signature, of a block that carries one of Google's."""
    return unsealed(block.get("data")) if block.get("type") == "redacted_thinking" else None


def _arguments(text: str | None, name: str) -> dict[str, Any]:
    if not text or text.isspace():
        return {}
    try:
        return _objects.decode(text)
    except UNREADABLE:
        raise BadAnswer(
            f"the model called {name[:100]!r} with arguments that are no JSON object", hint="try again"
        ) from None


def _as_error(said: _Error | str, status: int) -> TetradError:
    detail = said if isinstance(said, _Error) else _Error(message=said)
    code = str(detail.code or detail.type or "upstream_error")
    return TetradError(detail.message or "the upstream failed", code=code, status=status)


class _Tool:
    """One call of a tool in a stream."""

    __slots__ = ("_looks", "id", "name", "pieces", "signature", "size")

    def __init__(self, call: _Call) -> None:
        self.id = call.id or ""
        self.name = ""
        self.signature = google_signature(call.extra_content)
        self.pieces: list[str] = []
        self.size = 0
        self._looks = 0

    def take(self, call: _Call) -> str:
        """Add what a chunk says; return the new piece of the arguments."""
        self.id = self.id or call.id or ""
        function = call.function
        if function is None:
            return ""
        self.name = self.name or function.name or ""
        piece = function.arguments or ""
        if piece:
            self.pieces.append(piece)
            self.size += len(piece)
            if self.size > MAX_ARGUMENT_BYTES:
                raise BadAnswer(f"the arguments of a call are longer than {MAX_ARGUMENT_BYTES:,} characters")
        return piece

    @property
    def whole(self) -> bool:
        """Tell whether the arguments are a JSON object, so that nothing can follow; looked at so many times only."""
        if self._looks >= _MOST_LOOKS or not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        self._looks += 1
        try:
            _objects.decode("".join(self.pieces))
        except UNREADABLE:
            return False
        return True


class ChatEvents(StreamTranslator):
    """Chunks of a chat completion in, events of a message out.

    A message has one open block at a time. Calls of tools may come interleaved; what belongs to a later one is kept
    back until the arguments of the one before it are whole, or the stream is over.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun = False
        self._index = -1
        self._open = ""
        self._tools: dict[int, _Tool] = {}
        self._shown: list[int] = []
        self._reason: tuple[str, str | None] | None = None
        self._usage: Usage | None = None
        self._refused = False

    def _take(self, payload: bytes, said: list[bytes]) -> None:
        if payload == b"[DONE]":
            if self._reason is None and not self._begun:
                raise StreamBroken("the upstream's stream holds no answer", hint="try again")
            self._finish(said)
            return
        try:
            chunk = _completions.decode(payload)
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's stream holds what is no chunk of a chat completion: {error}") from None
        if bytes(chunk.error) not in (b"", b"null"):
            said.append(_told(bytes(chunk.error)))
            self.done = True
            return
        if not self._begun:
            self._begin(chunk, said)
        if bytes(chunk.usage) not in (b"", b"null"):
            self._usage = usage_of_chat(chunk.usage) or self._usage
        for choice in chunk.choices or ():
            if choice.index:
                continue  # one answer was asked for
            if choice.delta is not None:
                self._delta(choice.delta, said)
            if choice.finish_reason:
                self._reason = _stop(choice, bool(self._tools), self._refused)

    def _begin(self, chunk: _Completion, said: list[bytes]) -> None:
        self._begun = True
        message: dict[str, Any] = {
            "id": chunk.id or "msg_unnamed",
            "type": "message",
            "role": "assistant",
            "model": chunk.model or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": messages_usage(None),
        }
        said.append(b'event: message_start\ndata: {"type":"message_start","message":' + _encode(message) + b"}\n\n")

    def _delta(self, delta: _Message, said: list[bytes]) -> None:
        thoughts = delta.reasoning_content or delta.reasoning
        if thoughts:
            if self._open != "thinking":
                self._start("thinking", b'{"type":"thinking","thinking":"","signature":""}', said)
            said.append(self._piece(b"thinking", thoughts))
        if delta.extra_content is not None and self._open == "thinking" and (signature := _signature(delta)):
            said.append(self._piece(b"signature", signature))
        if signature := google_signature(delta.extra_content):
            self._start("redacted", _encode(_signed("text", signature)), said)
        if delta.refusal:
            self._refused = True
        for text in (delta.content, delta.refusal):
            if text:
                if self._open != "text":
                    self._start("text", b'{"type":"text","text":""}', said)
                said.append(self._piece(b"text", text))
        for call in delta.tool_calls or ():
            self._call(call, said)

    def _call(self, call: _Call, said: list[bytes]) -> None:
        number = call.index if call.index is not None else len(self._tools) - (0 if call.id else 1)
        tool = self._tools.get(number)
        if tool is None:
            if len(self._tools) >= MAX_CALLS:
                raise BadAnswer(f"the answer has more than {MAX_CALLS} calls of tools")
            tool = self._tools[number] = _Tool(call)
        piece = tool.take(call)
        if self._shown and self._shown[-1] == number and self._open == "tool":
            if piece:
                said.append(self._piece(b"input_json", piece))
        elif number in self._shown:
            if piece and not piece.isspace():
                raise BadAnswer("the arguments of a call go on after they were whole")
        elif self._open != "tool" or self._tools[self._shown[-1]].whole:
            self._show(number, said)
            return
        if len(self._shown) < len(self._tools) and self._tools[self._shown[-1]].whole:
            self._show(next(each for each in self._tools if each not in self._shown), said)

    def _show(self, number: int, said: list[bytes]) -> None:
        tool = self._tools[number]
        self._shown.append(number)
        if tool.signature:
            self._start("redacted", _encode(_signed("call", tool.signature)), said)
        self._start("tool", _encode({"type": "tool_use", "id": tool.id, "name": tool.name, "input": {}}), said)
        if tool.pieces:
            said.append(self._piece(b"input_json", "".join(tool.pieces)))

    def _start(self, kind: str, block: bytes, said: list[bytes]) -> None:
        self._close(said)
        self._open = kind
        self._index += 1
        said.append(
            b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%s}\n\n'
            % (self._index, block)
        )

    def _close(self, said: list[bytes]) -> None:
        if self._open:
            said.append(b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index)
            self._open = ""

    def _piece(self, kind: bytes, text: str) -> bytes:
        name = _FIELDS[kind]
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
            b'{"type":"%s_delta","%s":%s}}\n\n' % (self._index, kind, name, _encode(text))
        )

    def _finish(self, said: list[bytes]) -> None:
        for number in list(self._tools):
            if number not in self._shown:
                self._show(number, said)
        self._close(said)
        reason, sequence = self._reason or ("tool_use" if self._tools else "end_turn", None)
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": sequence},
            "usage": messages_usage(self._usage),
        }
        said.append(b"event: message_delta\ndata: " + _encode(delta) + b"\n\n")
        said.append(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
        self.done = True


_FIELDS = {b"text": b"text", b"thinking": b"thinking", b"signature": b"signature", b"input_json": b"partial_json"}


def _told(raw: bytes) -> bytes:
    try:
        said = _error_details.decode(raw)
    except UNREADABLE:
        said = _Error(message=raw[:1000].decode("utf-8", "replace"))
    return error_event(_as_error(said, 500), "anthropic")
