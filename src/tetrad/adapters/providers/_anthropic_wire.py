"""What Anthropic's protocol says of an answer, read for the record and for the end of a stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, Usage
from tetrad.serving import MessagesUsage, read_messages_usage

_NOTHING = msgspec.Raw(b"")
_END = b'"message_stop"'
UNSIGNED = re.compile(rb'"signature"\s*:\s*"(?:"|tetrad\.)|"data"\s*:\s*"tetrad\.')
"""What may be thinking that Anthropic has not signed: of an upstream that signs nothing, OpenAI's or Google's."""
MAX_INDEX = 100_000
"""A block with a larger number is not put together for the record."""


class Message(msgspec.Struct, frozen=True):
    """A whole message, or the beginning of a streamed one."""

    id: str | None = None
    model: str | None = None
    type: str | None = None
    content: msgspec.Raw = _NOTHING
    stop_reason: str | None = None
    usage: msgspec.Raw = _NOTHING
    input_tokens: int | None = None
    """What an answer to count_tokens holds instead."""


class _Delta(msgspec.Struct, frozen=True):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str | None = None
    index: int | None = None
    message: Message | None = None
    content_block: dict[str, Any] | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


class _Kind(msgspec.Struct, frozen=True):
    type: str | None = None


class _Error(msgspec.Struct, frozen=True):
    type: str | None = None
    message: str | None = None


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _Error


_messages = msgspec.json.Decoder(Message)
_events = msgspec.json.Decoder(_Event)
_kinds = msgspec.json.Decoder(_Kind)
_errors = msgspec.json.Decoder(_ErrorBody)
_conversations = msgspec.json.Decoder(list[dict[str, Any]])
_error_details = msgspec.json.Decoder(_Error)


def read_message(body: bytes) -> Message:
    """Read a whole answer; raises `msgspec.MsgspecError` for what is none."""
    return _messages.decode(body)


def read_error(body: bytes) -> tuple[str, str] | None:
    """Return (type, message) of an error body; None where it is not one."""
    try:
        error = _errors.decode(body).error
    except UNREADABLE:
        return None
    return error.type or "", error.message or ""


def without_unsigned(messages: msgspec.Raw) -> tuple[msgspec.Raw, tuple[str, ...]]:
    """Leave out thinking without a signature of Anthropic's; return the messages and the places where it stood.

    Messages that are malformed stay as they are: they are the upstream's to refuse.
    """
    try:
        said = _conversations.decode(messages)
    except UNREADABLE:
        return messages, ()
    places, messages_kept = [], []
    for number, message in enumerate(said):
        content = message.get("content")
        if not isinstance(content, list):
            messages_kept.append(message)
            continue
        kept = []
        for place, block in enumerate(content):
            if isinstance(block, dict) and _is_foreign(block):
                places.append(f"messages[{number}].content[{place}]")
            else:
                kept.append(block)
        message["content"] = kept
        if kept or not content:  # a message of nothing but such thinking says nothing
            messages_kept.append(message)
    return msgspec.Raw(msgspec.json.encode(messages_kept)), tuple(places)


def _is_foreign(block: dict[str, Any]) -> bool:
    kind = block.get("type")
    if kind == "redacted_thinking":
        return str(block.get("data", "")).startswith("tetrad.")
    signature = block.get("signature")
    return kind == "thinking" and (signature == "" or str(signature).startswith("tetrad."))


def end_of_message(events: bytes) -> int | None:
    """Return where the event `message_stop` ends; None where it is absent. A text that names it is not it."""
    at = events.find(_END)
    while at >= 0:
        start = max(events.rfind(b"\n\n", 0, at), events.rfind(b"\n\r\n", 0, at), 0)
        ends = [end for end in (events.find(b"\n\n", at), events.find(b"\n\r\n", at)) if end >= 0]
        end = min(ends) if ends else len(events)
        for payload in _payloads(events[start:end]):
            try:
                if _kinds.decode(payload).type == "message_stop":
                    while events[end : end + 1] in (b"\r", b"\n") and end < len(events):
                        end += 1
                    return end
            except UNREADABLE:
                continue
        at = events.find(_END, at + 1)
    return None


def _payloads(events: bytes) -> Iterator[bytes]:
    for line in events.split(b"\n"):
        if line.startswith(b"data:"):
            payload = line[5:].strip()
            if payload:
                yield payload


class MessageReader:
    """Put the events of a stream together again: the message, its stop reason, usage."""

    def __init__(self) -> None:
        self.id = self.model = self.error_type = self.error_message = ""
        self.unread = 0
        self.units: dict[str, Decimal] = {}
        self._begun = False
        self._usage: MessagesUsage | None = None
        self._reason = ""
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}

    def feed(self, events: bytes, *, torn: bool = False) -> None:
        """Read whole events; where the front is `torn`, what cannot be read there does not count."""
        for payload in _payloads(events):
            try:
                event = _events.decode(payload)
            except UNREADABLE:
                self.unread += not torn
                continue
            self._take(event)

    @property
    def usage(self) -> Usage | None:
        """What the call consumed, as far as it was told."""
        return self._usage.usage() if self._usage is not None else None

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why the message ended."""
        return (self._reason,) if self._reason else ()

    @property
    def messages(self) -> bytes:
        """The message in an array; b"" where there was none."""
        if not self._begun and not self._blocks:
            return b""
        for (index, name), pieces in self._pieces.items():
            block = self._blocks.setdefault(index, {"type": "unknown"})
            block[name] = _joined(name, pieces)
        content = [self._blocks[index] for index in sorted(self._blocks)]
        return msgspec.json.encode([{"role": "assistant", "content": content}])

    def _take(self, event: _Event) -> None:
        if event.message is not None:
            self._begun = True
            self.id, self.model = event.message.id or self.id, event.message.model or self.model
            self._count(event.message.usage)
        if bytes(event.usage):
            self._count(event.usage)
        if bytes(event.error) not in (b"", b"null"):
            self._take_error(bytes(event.error))
        index = event.index or 0
        if event.content_block is not None and 0 <= index <= MAX_INDEX:
            self._blocks[index] = event.content_block
        delta = event.delta
        if delta is None:
            return
        self._reason = delta.stop_reason or self._reason
        for name in ("text", "thinking", "signature", "partial_json"):
            piece = getattr(delta, name)
            if piece and 0 <= index <= MAX_INDEX:
                self._pieces.setdefault((index, "input" if name == "partial_json" else name), []).append(piece)

    def _count(self, raw: msgspec.Raw) -> None:
        said = read_messages_usage(raw)
        if said is not None:
            self._usage = self._usage.updated(said) if self._usage is not None else said

    def _take_error(self, raw: bytes) -> None:
        try:
            detail = _error_details.decode(raw)
        except UNREADABLE:
            detail = _Error(message=raw[:1000].decode("utf-8", "replace"))
        self.error_type = detail.type or "upstream_error"
        self.error_message = detail.message or ""


def _joined(name: str, pieces: list[str]) -> Any:
    text = "".join(pieces)
    if name != "input":
        return text
    try:
        return msgspec.Raw(text.encode()) if msgspec.json.decode(text) is not None else {}
    except UNREADABLE:
        return text  # torn, or never whole: kept as it came
