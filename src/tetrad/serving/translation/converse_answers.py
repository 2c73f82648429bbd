"""Answers of upstreams that speak Amazon Bedrock's Converse, said to clients that speak Anthropic's Messages.

The adapter takes a stream out of Amazon's frames: each event comes as the data of a server-sent event, an object with
the event's name as its only field.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, TetradError, Usage, new_id
from tetrad.serving.errors import BadAnswer
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._events import StreamTranslator
from tetrad.serving.translation.usage import messages_usage

STOP_REASONS = {
    "end_turn": "end_turn",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
    "model_context_window_exceeded": "max_tokens",
}
_FAULTS = frozenset(("malformed_model_output", "malformed_tool_use"))
MAX_BLOCKS = 4096
_NOTHING = msgspec.Raw(b"")
_encode = msgspec.json.encode


class _ToolUse(msgspec.Struct, frozen=True):
    toolUseId: str = ""  # noqa: N815 - the wire's names
    name: str = ""
    input: msgspec.Raw = _NOTHING


class _Thought(msgspec.Struct, frozen=True):
    text: str = ""
    signature: str = ""


class _Reasoning(msgspec.Struct, frozen=True):
    reasoningText: _Thought | None = None  # noqa: N815
    redactedContent: str | None = None  # noqa: N815
    text: str | None = None
    signature: str | None = None


class _Block(msgspec.Struct, frozen=True):
    text: str | None = None
    toolUse: _ToolUse | None = None  # noqa: N815
    reasoningContent: _Reasoning | None = None  # noqa: N815


class _Message(msgspec.Struct, frozen=True):
    content: list[_Block] = []


class _Output(msgspec.Struct, frozen=True):
    message: _Message = _Message()


class _Written(msgspec.Struct, frozen=True):
    inputTokens: int = 0  # noqa: N815
    ttl: str = ""


class ConverseUsage(msgspec.Struct, frozen=True):
    """What Bedrock says of usage: `inputTokens` has nothing of the cache in it."""

    inputTokens: int = 0  # noqa: N815
    outputTokens: int = 0  # noqa: N815
    cacheReadInputTokens: int = 0  # noqa: N815
    cacheWriteInputTokens: int = 0  # noqa: N815
    cacheDetails: list[_Written] = []  # noqa: N815

    def usage(self) -> Usage:
        """Return it in disjoint buckets."""
        hour = sum(each.inputTokens for each in self.cacheDetails if each.ttl == "1h")
        written = self.cacheWriteInputTokens
        return Usage(
            input=self.inputTokens,
            cache_read=self.cacheReadInputTokens,
            cache_write=max(written - hour, 0) if written >= 0 else written,
            output=self.outputTokens,
            cache_write_1h=hour,
        )


class ConverseAnswer(msgspec.Struct, frozen=True):
    """A whole answer."""

    output: _Output
    stopReason: str = ""  # noqa: N815
    usage: ConverseUsage | None = None


class _Start(msgspec.Struct, frozen=True):
    toolUse: _ToolUse | None = None  # noqa: N815


class _Piece(msgspec.Struct, frozen=True):
    input: str = ""


class _Delta(msgspec.Struct, frozen=True):
    text: str | None = None
    toolUse: _Piece | None = None  # noqa: N815
    reasoningContent: _Reasoning | None = None  # noqa: N815


class _Place(msgspec.Struct, frozen=True):
    contentBlockIndex: int = 0  # noqa: N815
    start: _Start | None = None
    delta: _Delta | None = None


class _Stop(msgspec.Struct, frozen=True):
    stopReason: str = ""  # noqa: N815


class _Metadata(msgspec.Struct, frozen=True):
    usage: ConverseUsage | None = None


class ConverseEvent(msgspec.Struct, frozen=True):
    """One event of a stream; the field that is there says which."""

    contentBlockStart: _Place | None = None  # noqa: N815
    contentBlockDelta: _Place | None = None  # noqa: N815
    contentBlockStop: _Place | None = None  # noqa: N815
    messageStart: msgspec.Raw = _NOTHING  # noqa: N815
    messageStop: _Stop | None = None  # noqa: N815
    metadata: _Metadata | None = None


_answers = msgspec.json.Decoder(ConverseAnswer)
_events = msgspec.json.Decoder(ConverseEvent)
_recorded = msgspec.json.Decoder(list[_Message])


def read_converse(body: bytes) -> ConverseAnswer:
    """Read a whole answer; raises `msgspec.MsgspecError` for what is none."""
    return _answers.decode(body)


def read_converse_event(data: bytes) -> ConverseEvent:
    """Read one event of a stream; raises `msgspec.MsgspecError` for what is none."""
    return _events.decode(data)


class ConverseAnswers:
    """A `Translation` whose answers come in Converse and go out as messages."""

    def __init__(self, call: ModelCall, dropped: tuple[str, ...]) -> None:
        self.call = call
        self.dropped = dropped
        raw = call.fields.get("model", _NOTHING)
        self._model = msgspec.json.decode(raw) if bytes(raw) else ""

    def whole(self, body: bytes) -> bytes:
        try:
            answer = _answers.decode(body)
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's answer is none of Converse: {error}") from None
        return _encode(
            {
                "id": new_id("msg"),
                "type": "message",
                "role": "assistant",
                "model": self._model,
                "content": _said(answer.output.message),
                "stop_reason": _reason(answer.stopReason),
                "stop_sequence": None,
                "usage": messages_usage(answer.usage.usage() if answer.usage else None),
            }
        )

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        """Return it as it is: the adapter tells errors in Anthropic's words."""
        return status, body

    def events(self) -> ConverseEvents:
        return ConverseEvents(self._model)

    def outcome(self, outcome: Outcome) -> Outcome:
        output = outcome.output
        if output:
            try:
                messages = _recorded.decode(output)
                output = _encode([{"role": "assistant", "content": _said(message)} for message in messages])
            except (*UNREADABLE, TetradError):
                output = outcome.output
        reasons = tuple(STOP_REASONS.get(reason, "end_turn") for reason in outcome.finish_reasons)
        return msgspec.structs.replace(outcome, finish_reasons=reasons, output=output)


def _reason(reason: str) -> str:
    if reason in _FAULTS:
        raise BadAnswer(f"the model gave up its answer ({reason})", hint="try again")
    return STOP_REASONS.get(reason, "end_turn")


def _said(message: _Message) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for block in message.content:
        if block.text is not None:
            blocks.append({"type": "text", "text": block.text})
        elif block.toolUse is not None:
            use = block.toolUse
            given = msgspec.Raw(bytes(use.input) or b"{}")
            blocks.append({"type": "tool_use", "id": use.toolUseId, "name": use.name, "input": given})
        elif block.reasoningContent is not None:
            thought = block.reasoningContent
            if thought.redactedContent is not None:
                blocks.append({"type": "redacted_thinking", "data": thought.redactedContent})
            elif thought.reasoningText is not None:
                text, signature = thought.reasoningText.text, thought.reasoningText.signature
                blocks.append({"type": "thinking", "thinking": text, "signature": signature})
    return blocks


class ConverseEvents(StreamTranslator):
    """Events of Converse in, events of a message out. Converse says usage after the end of the message."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model
        self._begun = False
        self._index = -1
        self._theirs = -1
        self._open = ""
        self._reason = ""
        self._usage: Usage | None = None

    def _take(self, payload: bytes, said: list[bytes]) -> None:
        try:
            event = _events.decode(payload)
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's stream holds what is no event of Converse: {error}") from None
        if not self._begun:
            self._begin(said)
        if event.contentBlockStart is not None:
            self._started(event.contentBlockStart, said)
        elif event.contentBlockDelta is not None:
            self._delta(event.contentBlockDelta, said)
        elif event.contentBlockStop is not None:
            self._close(said)
        elif event.messageStop is not None:
            self._reason = _reason(event.messageStop.stopReason) if event.messageStop.stopReason else "end_turn"
        elif event.metadata is not None:
            if event.metadata.usage is not None:
                self._usage = event.metadata.usage.usage()
            if self._reason:
                self._finish(said)

    def _begin(self, said: list[bytes]) -> None:
        self._begun = True
        message: dict[str, Any] = {
            "id": new_id("msg"), "type": "message", "role": "assistant", "model": self._model, "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": messages_usage(None),
        }  # fmt: skip
        said.append(_event("message_start", {"message": message}))

    def _started(self, place: _Place, said: list[bytes]) -> None:
        use = place.start.toolUse if place.start is not None else None
        if use is not None:
            block = {"type": "tool_use", "id": use.toolUseId, "name": use.name, "input": {}}
            self._show(place.contentBlockIndex, "tool_use", block, said)

    def _delta(self, place: _Place, said: list[bytes]) -> None:
        delta, at = place.delta or _Delta(), place.contentBlockIndex
        if delta.text is not None:
            if self._theirs != at or self._open != "text":
                self._show(at, "text", {"type": "text", "text": ""}, said)
            if delta.text:
                said.append(self._piece({"type": "text_delta", "text": delta.text}))
        elif delta.toolUse is not None:
            if self._open != "tool_use" or self._theirs != at:
                raise BadAnswer("the arguments of a call came before the call")
            if delta.toolUse.input:
                said.append(self._piece({"type": "input_json_delta", "partial_json": delta.toolUse.input}))
        elif delta.reasoningContent is not None:
            self._thought(delta.reasoningContent, at, said)

    def _thought(self, thought: _Reasoning, at: int, said: list[bytes]) -> None:
        if thought.redactedContent is not None:
            self._show(at, "redacted", {"type": "redacted_thinking", "data": thought.redactedContent}, said)
            return
        if self._open != "thinking" or self._theirs != at:
            self._show(at, "thinking", {"type": "thinking", "thinking": "", "signature": ""}, said)
        if thought.text:
            said.append(self._piece({"type": "thinking_delta", "thinking": thought.text}))
        if thought.signature:
            said.append(self._piece({"type": "signature_delta", "signature": thought.signature}))

    def _show(self, theirs: int, kind: str, block: dict[str, Any], said: list[bytes]) -> None:
        self._close(said)
        self._index += 1
        if self._index >= MAX_BLOCKS:
            raise BadAnswer(f"the answer has more than {MAX_BLOCKS:,} blocks")
        self._open, self._theirs = kind, theirs
        said.append(_event("content_block_start", {"index": self._index, "content_block": block}))

    def _close(self, said: list[bytes]) -> None:
        if self._open:
            self._open = ""
            said.append(_event("content_block_stop", {"index": self._index}))

    def _piece(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._index, "delta": delta})

    def _finish(self, said: list[bytes]) -> None:
        self._close(said)
        delta = {"stop_reason": self._reason, "stop_sequence": None}
        said.append(_event("message_delta", {"delta": delta, "usage": messages_usage(self._usage)}))
        said.append(_event("message_stop", {}))
        self.done = True


def _event(kind: str, body: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), _encode({"type": kind, **body}))


class _Count(msgspec.Struct, frozen=True):
    inputTokens: int  # noqa: N815


class ConverseCounts:
    """A `Translation` of counts of tokens, for clients of Anthropic's protocol."""

    def __init__(self, call: ModelCall, dropped: tuple[str, ...]) -> None:
        self.call = call
        self.dropped = dropped

    def whole(self, body: bytes) -> bytes:
        try:
            return _encode({"input_tokens": msgspec.json.decode(body, type=_Count).inputTokens})
        except msgspec.MsgspecError as error:
            raise BadAnswer(f"the upstream's answer is no count of tokens: {error}") from None

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        """Return it as it is: the adapter tells errors in Anthropic's words."""
        return status, body

    def events(self) -> ConverseEvents:
        raise BadAnswer("a count of tokens is no stream")

    def outcome(self, outcome: Outcome) -> Outcome:
        return outcome
