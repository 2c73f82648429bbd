"""Answers of upstreams that speak OpenAI's Responses, said to clients that speak Anthropic's Messages.

A summary of reasoning, or what was thought aloud, is a block of thinking; one that tells nothing is
`redacted_thinking`. Its signature, or its data, is what its maker wants back; see `openai_signatures`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, TetradError
from tetrad.serving.errors import BadAnswer
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._response_reading import (
    Event,
    Item,
    Response,
    ResponseEvents,
    read_items,
    read_response,
)
from tetrad.serving.translation.chat_answers import said_error
from tetrad.serving.translation.openai_signatures import BETWEEN
from tetrad.serving.translation.usage import messages_usage

_REASONS = {"max_output_tokens": "max_tokens", "content_filter": "refusal", "completed": "end_turn"}
_encode = msgspec.json.encode
_objects = msgspec.json.Decoder(dict[str, Any])


class MessagesFromResponses:
    """A `Translation` whose answers come in responses and go out as messages."""

    def __init__(self, call: ModelCall, dropped: tuple[str, ...], maker: str) -> None:
        self.call = call
        self.dropped = dropped
        self._maker = maker

    def whole(self, body: bytes) -> bytes:
        answer = read_response(body)
        items = answer.output or []
        return _encode(
            {
                "id": answer.id or "msg_unnamed",
                "type": "message",
                "role": "assistant",
                "model": answer.model or "",
                "content": _blocks(items, self._maker),
                "stop_reason": _stop(answer.cut or "completed", items),
                "stop_sequence": None,
                "usage": messages_usage(answer.tokens()),
            }
        )

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        return status, said_error(status, body)

    def events(self) -> MessagesEvents:
        return MessagesEvents(self._maker)

    def outcome(self, outcome: Outcome) -> Outcome:
        """Return what became of the answer; what of its record cannot be read stays as it is."""
        try:
            items = read_items(outcome.output) if outcome.output else []
            output = _encode([{"role": "assistant", "content": _blocks(items, self._maker)}]) if items else b""
        except (*UNREADABLE, TetradError):
            items, output = [], outcome.output
        reasons = tuple(_stop(reason, items) for reason in outcome.finish_reasons[:1])
        return msgspec.structs.replace(outcome, finish_reasons=reasons, output=output)


def _stop(reason: str, items: list[Item]) -> str:
    if any(part.type == "refusal" for item in items for part in item.content or ()):
        return "refusal"
    said = _REASONS.get(reason, "end_turn")
    return "tool_use" if said == "end_turn" and any(item.type == "function_call" for item in items) else said


def _blocks(items: list[Item], maker: str) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for item in items:
        if item.type == "reasoning":
            thought, text = item.thought(maker)
            if text or thought.encrypted_content:
                blocks.append(_thinking(text, thought.sealed()))
        elif item.type == "message":
            texts = (part.text or part.refusal for part in item.content or ())
            blocks += [{"type": "text", "text": text} for text in texts if text]
        elif item.type == "function_call" and (given := _arguments(item)) is not None:
            blocks.append({"type": "tool_use", "id": item.call_id or "", "name": item.name or "", "input": given})
    return blocks


def _thinking(text: str, sealed: str) -> dict[str, Any]:
    if text:
        return {"type": "thinking", "thinking": text, "signature": sealed}
    return {"type": "redacted_thinking", "data": sealed}


def _arguments(item: Item) -> dict[str, Any] | None:
    """Return the arguments of a call; None where the answer was cut off within them."""
    text = item.arguments or ""
    if not text or text.isspace():
        return {}
    try:
        return _objects.decode(text)
    except UNREADABLE:
        if item.status == "incomplete":
            return None
        raise BadAnswer(
            f"the model called {(item.name or '')[:100]!r} with arguments that are no JSON object", hint="try again"
        ) from None


class MessagesEvents(ResponseEvents):
    """Events of a response in, events of a message out.

    A message has one open block at a time, and so have the responses of most servers. An item that comes while another
    is open is told as a whole, when it is whole.
    """

    dialect = "anthropic"

    def __init__(self, maker: str) -> None:
        super().__init__(maker)
        self._index = -1
        self._owner: int | None = None
        """The item that is being told."""
        self._kind = ""
        self._part: int | None = None
        """Which part of it the open block tells; None where none is open."""
        self._arguments = self._called = self._refused = False
        self._later: list[Item] = []

    def _begin(self, response: Response, said: list[bytes]) -> None:
        message: dict[str, Any] = {
            "id": response.id or "msg_unnamed",
            "type": "message",
            "role": "assistant",
            "model": response.model or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": messages_usage(None),
        }
        said.append(b'event: message_start\ndata: {"type":"message_start","message":' + _encode(message) + b"}\n\n")

    def _added(self, event: Event, item: Item, said: list[bytes]) -> None:
        if self._owner is not None:
            return
        self._owner, self._kind = event.output_index or 0, item.type or ""
        if self._kind == "function_call":
            self._called, self._arguments = True, False
            tool = {"type": "tool_use", "id": item.call_id or "", "name": item.name or "", "input": {}}
            self._open(0, _encode(tool), said)

    def _delta(self, kind: str, event: Event, text: str, said: list[bytes]) -> None:
        if self._owner is None or (event.output_index or 0) != self._owner:
            return  # what it belongs to is told as a whole
        if kind == "response.output_text.delta" or kind == "response.refusal.delta":
            if self._part != (event.content_index or 0):
                self._open(event.content_index or 0, b'{"type":"text","text":""}', said)
            self._refused = self._refused or kind == "response.refusal.delta"
            self._say(b"text", b"text", text, said)
        elif kind == "response.function_call_arguments.delta":
            self._arguments = True
            self._say(b"input_json", b"partial_json", text, said)
        elif kind == "response.reasoning_summary_text.delta":
            self._think(event.summary_index or 0, BETWEEN, text, said)
        elif kind == "response.reasoning_text.delta":
            self._think(event.content_index or 0, "", text, said)

    def _think(self, part: int, between: str, text: str, said: list[bytes]) -> None:
        if self._part is None:
            self._open(part, b'{"type":"thinking","thinking":"","signature":""}', said)
        elif part != self._part:
            self._part, text = part, between + text
        self._say(b"thinking", b"thinking", text, said)

    def _item(self, event: Event, item: Item, said: list[bytes]) -> None:
        if self._owner is None or (event.output_index or 0) != self._owner:
            self._later.append(item)
        else:
            self._finish_open(item, said)
            self._owner = None
        if self._part is None:
            self._tell_later(said)

    def _finish_open(self, item: Item, said: list[bytes]) -> None:
        if self._part is None:  # nothing was told of it yet
            self._later.append(item)
        elif self._kind == "reasoning":
            if sealed := item.thought(self._maker)[0].sealed():
                self._say(b"signature", b"signature", self._carried(sealed), said)
        elif self._kind == "function_call" and not self._arguments and item.arguments:
            self._say(b"input_json", b"partial_json", item.arguments, said)
        self._close(said)

    def _tell_later(self, said: list[bytes]) -> None:
        items, self._later = self._later, []
        for item in items:
            self._refused = self._refused or any(part.type == "refusal" for part in item.content or ())
            for block in _blocks([item], self._maker):
                self._tell(block, said)

    def _tell(self, block: dict[str, Any], said: list[bytes]) -> None:
        kind = block["type"]
        if kind == "text":
            self._open(0, b'{"type":"text","text":""}', said)
            self._say(b"text", b"text", block["text"], said)
        elif kind == "thinking":
            self._open(0, b'{"type":"thinking","thinking":"","signature":""}', said)
            self._say(b"thinking", b"thinking", block["thinking"], said)
            if block["signature"]:
                self._say(b"signature", b"signature", self._carried(block["signature"]), said)
        elif kind == "tool_use":
            self._called = True
            self._open(0, _encode({**block, "input": {}}), said)
            self._say(b"input_json", b"partial_json", _encode(block["input"]).decode(), said)
        else:
            self._carried(block["data"])
            self._open(0, _encode(block), said)
        self._close(said)

    def _open(self, part: int, block: bytes, said: list[bytes]) -> None:
        self._close(said)
        self._part = part
        self._index += 1
        said.append(
            b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%s}\n\n'
            % (self._index, block)
        )

    def _close(self, said: list[bytes]) -> None:
        if self._part is not None:
            said.append(b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index)
            self._part = None

    def _say(self, kind: bytes, name: bytes, text: str, said: list[bytes]) -> None:
        said.append(
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
            b'{"type":"%s_delta","%s":%s}}\n\n' % (self._index, kind, name, _encode(text))
        )

    def _ended(self, response: Response, said: list[bytes]) -> None:
        self._close(said)
        self._tell_later(said)
        reason = "refusal" if self._refused else _REASONS.get(self._reason, "end_turn")
        if reason == "end_turn" and self._called:
            reason = "tool_use"
        delta = {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": messages_usage(response.tokens()),
        }
        said.append(b"event: message_delta\ndata: " + _encode(delta) + b"\n\n")
        said.append(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
