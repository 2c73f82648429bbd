"""What Amazon Bedrock says of an answer, read for the record; and its events, taken out of their frames."""

from __future__ import annotations

import base64
import binascii
from decimal import Decimal
from typing import Any

import msgspec

from tetrad.adapters.providers._aws import Frame
from tetrad.adapters.providers._aws_stream import event_stream_failed
from tetrad.kernel import Usage
from tetrad.kit.upstream import BrokenAnswer
from tetrad.serving import ConverseEvent, read_converse_event

_encode = msgspec.json.encode


class _Chunk(msgspec.Struct, frozen=True):
    bytes: str


class _Kind(msgspec.Struct, frozen=True):
    type: str = ""


_chunks = msgspec.json.Decoder(_Chunk)
_kinds = msgspec.json.Decoder(_Kind)


def converse_event(frame: Frame) -> bytes:
    """Return a message of ConverseStream as a server-sent event: an object with the event's name as its field."""
    if frame.headers.get(":message-type", "event") != "event":
        raise event_stream_failed(frame)
    name = frame.headers.get(":event-type", "")
    if not name.isalpha() or not frame.payload:
        raise BrokenAnswer("the upstream's event stream holds a message without a name")
    # the payload is one line: JSON texts hold no line breaks, and what is around them is blank
    return b'data: {"%s":%s}\n\n' % (name.encode(), frame.payload.replace(b"\n", b" ").replace(b"\r", b" "))


def message_event(frame: Frame) -> bytes:
    """Return a message of InvokeModelWithResponseStream as the event of Anthropic's that it holds."""
    if frame.headers.get(":message-type", "event") != "event":
        raise event_stream_failed(frame)
    if frame.headers.get(":event-type") != "chunk":
        return b""
    try:
        data = base64.b64decode(_chunks.decode(frame.payload).bytes, validate=True)
        kind = _kinds.decode(data).type
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise BrokenAnswer(f"a message of the upstream's event stream cannot be read: {error}") from None
    if not kind.replace("_", "").isalnum():
        raise BrokenAnswer("the upstream's event stream holds an event without a type")
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), data.replace(b"\n", b" ").replace(b"\r", b" "))


class ConverseReader:
    """Put the events of a stream together again: blocks, the reason, usage."""

    def __init__(self) -> None:
        self.id = self.model = self.error_type = self.error_message = ""
        self.usage: Usage | None = None
        self.unread = 0
        self.units: dict[str, Decimal] = {}
        self._reason = ""
        self._begun = False
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[tuple[int, str], list[str]] = {}

    def feed(self, events: bytes, *, torn: bool = False) -> None:
        """Read whole events; where the front is `torn`, what cannot be read there does not count."""
        for line in events.split(b"\n"):
            if line.startswith(b"data:"):
                try:
                    self._take(read_converse_event(line[5:]))
                except (msgspec.MsgspecError, RecursionError):
                    self.unread += not torn

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        """Why the message ended."""
        return (self._reason,) if self._reason else ()

    @property
    def messages(self) -> bytes:
        """The message in an array; b"" where there was none."""
        return _encode([{"role": "assistant", "content": self._content()}]) if self._begun else b""

    def _content(self) -> list[dict[str, Any]]:
        said: list[dict[str, Any]] = []
        for at in sorted(self._blocks):
            block = self._blocks[at]
            text = {name: "".join(pieces) for (place, name), pieces in self._pieces.items() if place == at}
            if "toolUse" in block:
                given = text.get("input") or "{}"
                try:
                    read = msgspec.json.decode(given)
                except msgspec.MsgspecError:
                    read = {"unread": given}
                said.append({"toolUse": {**block["toolUse"], "input": read}})
            elif "thought" in text or "signature" in text:
                thought = {"text": text.get("thought", ""), "signature": text.get("signature", "")}
                said.append({"reasoningContent": {"reasoningText": thought}})
            elif "redacted" in text:
                said.append({"reasoningContent": {"redactedContent": text["redacted"]}})
            else:
                said.append({"text": text.get("text", "")})
        return said

    def _take(self, event: ConverseEvent) -> None:
        self._begun = True
        if event.messageStop is not None:
            self._reason = event.messageStop.stopReason
        if event.metadata is not None and event.metadata.usage is not None:
            self.usage = event.metadata.usage.usage()
        started, place = event.contentBlockStart, event.contentBlockDelta
        if started is not None and started.start is not None and started.start.toolUse is not None:
            use = started.start.toolUse
            self._blocks[started.contentBlockIndex] = {"toolUse": {"toolUseId": use.toolUseId, "name": use.name}}
        if place is None or place.delta is None:
            return
        at, delta = place.contentBlockIndex, place.delta
        self._blocks.setdefault(at, {})
        if delta.text is not None:
            self._add(at, "text", delta.text)
        if delta.toolUse is not None:
            self._add(at, "input", delta.toolUse.input)
        if delta.reasoningContent is not None:
            thought = delta.reasoningContent
            for name, text in (("thought", thought.text), ("signature", thought.signature),
                               ("redacted", thought.redactedContent)):  # fmt: skip
                if text:
                    self._add(at, name, text)

    def _add(self, at: int, name: str, text: str) -> None:
        self._pieces.setdefault((at, name), []).append(text)
