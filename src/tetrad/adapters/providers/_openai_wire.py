"""What the OpenAI protocol says, read as leniently as its many dialects demand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, Usage
from tetrad.serving import units_of_chat, usage_of_chat

_NOTHING = msgspec.Raw(b"")
_BLANK = re.compile(rb"\r?\n\r?\n")
_MARK = b"[DONE]"
_LAST_LINE = b"\n\ndata: "
_LAST = b"\n\ndata: [DONE]\n\n"
_DONE = re.compile(rb"(?:^|[\r\n])data:[ \t]*\[DONE\][ \t]*(?:\r?\n){0,2}")


class _Choice(msgspec.Struct, frozen=True, gc=False):
    index: int = 0
    message: msgspec.Raw = _NOTHING
    text: msgspec.Raw = _NOTHING
    finish_reason: str | None = None


class Completion(msgspec.Struct, frozen=True, gc=False):
    """A whole chat completion or list of embeddings."""

    id: str | None = None
    model: str | None = None
    choices: list[_Choice] = []
    data: list[msgspec.Raw] = []
    usage: msgspec.Raw = _NOTHING

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why each choice ended, in the order of the choices."""
        choices = self.choices
        if len(choices) == 1:
            return (choices[0].finish_reason or "",)
        return tuple(choice.finish_reason or "" for choice in choices)

    @property
    def messages(self) -> bytes:
        """The messages of all choices, or the texts of legacy completions, as a JSON array."""
        choices = self.choices
        if len(choices) == 1:
            return b"[%b]" % (bytes(choices[0].message) or bytes(choices[0].text) or b"null")
        return b"[" + b",".join(bytes(choice.message) or bytes(choice.text) or b"null" for choice in choices) + b"]"


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, frozen=True, gc=False):
    index: int = 0
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, frozen=True, gc=False):
    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _DeltaChoice(msgspec.Struct, frozen=True, gc=False):
    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, frozen=True, gc=False):
    id: str | None = None
    model: str | None = None
    choices: list[_DeltaChoice] | None = None
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


class _Tail(msgspec.Struct, frozen=True):
    choices: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = _NOTHING


class _ErrorDetail(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _ErrorDetail


_completions = msgspec.json.Decoder(Completion)
_chunks = msgspec.json.Decoder(_Chunk)
_tails = msgspec.json.Decoder(_Tail)
_errors = msgspec.json.Decoder(_ErrorBody)
_error_details = msgspec.json.Decoder(_ErrorDetail)


def read_completion(body: bytes) -> Completion:
    """Read a whole answer; raises `msgspec.MsgspecError` for what is none."""
    return _completions.decode(body)


def read_error(body: bytes) -> tuple[str, str] | None:
    """Return (code, message) of an error body; None where it is not one."""
    try:
        error = _errors.decode(body).error
    except UNREADABLE:
        return None
    return str(error.code or error.type or ""), error.message or ""


def end_of_stream(events: bytes) -> int | None:
    """Return where the marker `data: [DONE]` ends; None where it is absent."""
    at = events.find(_MARK)  # `in` asks whether it is a number first, which costs more than the search
    if at < 0:
        return None
    if events.startswith(_LAST, at - len(_LAST_LINE)) and events.find(_MARK, at + 1) < 0:
        return at + len(_MARK) + 2  # nearly always; the pattern may begin anywhere, and looks at each byte
    match = _DONE.search(events)
    return match.end() if match else None


def without_usage_events(events: bytes) -> bytes:
    """Drop the events that carry nothing but usage: the client did not ask for them, we did."""
    if events.find(b'"usage"') < 0:
        return events
    if events.find(b"\r") < 0:
        return b"\n\n".join([each for each in events.split(b"\n\n") if not _only_usage(each)])
    kept, start = [], 0
    for match in _BLANK.finditer(events):
        event = events[start : match.end()]
        start = match.end()
        if not _only_usage(event):
            kept.append(event)
    kept.append(events[start:])
    return b"".join(kept)


def _only_usage(event: bytes) -> bool:
    if event.find(b'"usage"') < 0:
        return False
    for payload in _payloads(event):
        try:
            tail = _tails.decode(payload)
        except UNREADABLE:
            return False
        return not tail.choices and tail.choices is not None and bytes(tail.usage) not in (b"", b"null")
    return False


def _payloads(events: bytes) -> Iterator[bytes]:
    for line in events.split(b"\n"):
        if line.startswith(b"data:"):
            payload = line[5:].strip()
            if payload and payload != b"[DONE]":
                yield payload


def _plain_text(chunk: _Chunk) -> str | None:
    """Return the text of an event that says nothing but a piece of the first choice's text, as most do; else None."""
    choices = chunk.choices
    if not choices or len(choices) != 1 or chunk.error is not _NOTHING:
        return None
    if chunk.usage is not _NOTHING and bytes(chunk.usage) != b"null":
        return None
    choice = choices[0]
    delta = choice.delta
    if delta is None or choice.index or choice.finish_reason or choice.text:
        return None
    if delta.role or delta.refusal or delta.reasoning_content or delta.tool_calls:
        return None
    return delta.content


class StreamReader:
    """Put the events of a stream together again: messages, finish reasons, usage."""

    def __init__(self) -> None:
        self.id = self.model = self.error_type = self.error_message = ""
        self.usage: Usage | None = None
        self.units: dict[str, Decimal] = {}
        self.unread = 0
        self._choices: dict[int, dict[str, Any]] = {}
        self._reasons: dict[int, str] = {}

    def feed(self, events: bytes, *, torn: bool = False) -> None:
        """Read whole events; where the front is `torn`, what cannot be read there does not count."""
        decode, take = _chunks.decode, self._take
        texts: list[str] | None = None
        for line in events.split(b"\n"):
            if line[:5] != b"data:":
                continue
            payload = line[5:].strip()
            if not payload or payload == b"[DONE]":
                continue
            try:
                chunk = decode(payload)
            except UNREADABLE:
                self.unread += not torn
                continue
            if texts is not None and (text := _plain_text(chunk)) is not None:
                texts.append(text)
                continue
            take(chunk)
            first = self._choices.get(0)
            texts = first.get("content") if first is not None and self.id and self.model else None

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why each choice ended."""
        return tuple(self._reasons[index] for index in sorted(self._reasons))

    @property
    def messages(self) -> bytes:
        """The messages of all choices, as a JSON array; b"" where there was none."""
        if not self._choices:
            return b""
        return msgspec.json.encode([_message(self._choices[index]) for index in sorted(self._choices)])

    def _take(self, chunk: _Chunk) -> None:
        if not self.id:
            self.id = chunk.id or ""
        if not self.model:
            self.model = chunk.model or ""
        if chunk.usage is not _NOTHING:
            self.usage = usage_of_chat(chunk.usage) or self.usage
            self.units = units_of_chat(chunk.usage) or self.units
        if chunk.error is not _NOTHING and bytes(chunk.error) not in (b"", b"null"):
            self._take_error(bytes(chunk.error))
        for choice in chunk.choices or ():
            if choice.finish_reason:
                self._reasons[choice.index] = choice.finish_reason
            if choice.text:  # a legacy completion, told as a message
                message = self._choices.setdefault(choice.index, {"role": "assistant"})
                message.setdefault("content", []).append(choice.text)
            if choice.delta is not None:
                known = self._choices.get(choice.index)
                if known is None:
                    known = self._choices[choice.index] = {"role": "assistant"}
                self._take_delta(known, choice.delta)

    def _take_error(self, raw: bytes) -> None:
        try:
            detail = _error_details.decode(raw)
        except UNREADABLE:
            detail = _ErrorDetail(message=raw[:1000].decode("utf-8", "replace"))
        self.error_type = str(detail.code or detail.type or "upstream_error")
        self.error_message = detail.message or ""

    @staticmethod
    def _take_delta(message: dict[str, Any], delta: _Delta) -> None:
        if delta.role:
            message["role"] = delta.role
        if delta.content:
            if "content" in message:
                message["content"].append(delta.content)
            else:
                message["content"] = [delta.content]
        if delta.refusal:
            message.setdefault("refusal", []).append(delta.refusal)
        if delta.reasoning_content:
            message.setdefault("reasoning_content", []).append(delta.reasoning_content)
        for call in delta.tool_calls or ():
            calls = message.setdefault("tool_calls", {})
            known = calls.setdefault(call.index, {"id": "", "type": "function", "name": [], "arguments": []})
            known["id"] = call.id or known["id"]
            known["type"] = call.type or known["type"]
            if call.function is not None:
                known["name"].append(call.function.name or "")
                known["arguments"].append(call.function.arguments or "")


def _message(parts: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": parts["role"], "content": _text(parts.get("content"))}
    for name in ("refusal", "reasoning_content"):
        if name in parts:
            message[name] = _text(parts[name])
    if "tool_calls" in parts:
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": call["type"],
                "function": {"name": "".join(call["name"]), "arguments": "".join(call["arguments"])},
            }
            for _, call in sorted(parts["tool_calls"].items())
        ]
    return message


def _text(pieces: Iterable[str] | None) -> str | None:
    return None if pieces is None else "".join(pieces)
