"""Answers of upstreams that speak chat completions, said to clients that speak OpenAI's Responses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, Usage, new_id
from tetrad.serving.errors import BadAnswer, StreamBroken
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._events import EventReader
from tetrad.serving.translation._response_items import (
    INCOMPLETE,
    Call,
    Function,
    Message,
    called,
    items_of,
    reasoning,
    said_item,
    sealed_reasoning,
    signed,
    text_part,
)
from tetrad.serving.translation.anthropic_signatures import SignedBlock, seal_thought, signed_blocks
from tetrad.serving.translation.google_signatures import google_signature
from tetrad.serving.translation.usage import usage_of_chat

MAX_CALLS = 1024
MAX_ANSWER_CHARS = 64 * 1024 * 1024
"""Of all texts of a streamed answer together: they are said again at its end."""

_NOTHING = msgspec.Raw(b"")


class _Logprobs(msgspec.Struct, frozen=True):
    content: list[Any] | None = None


class _Choice(msgspec.Struct, frozen=True):
    index: int | None = None
    message: Message | None = None
    delta: Message | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Completion(msgspec.Struct, frozen=True):
    """A whole answer, or a chunk of one."""

    model: str | None = None
    created: int | float | None = None
    service_tier: str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


class _Error(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None


_completions = msgspec.json.Decoder(_Completion)
_errors = msgspec.json.Decoder(_Error | str)
_messages = msgspec.json.Decoder(list[Message | None])
_encode = msgspec.json.encode


class ResponsesAnswers:
    """A `Translation` whose answers come in chat completions and go out as a response and its items.

    With a `maker` the chat completions were said in Messages before, and what was signed there is the maker's.
    `placing` returns what tells where in the client's input a message stood, and what of it.
    """

    def __init__(
        self,
        call: ModelCall,
        dropped: tuple[str, ...],
        request: Mapping[str, Any],
        maker: str | None = None,
        placing: Callable[[], Callable[[int, str], str]] | None = None,
    ) -> None:
        self.placing = placing
        self.call = call
        self._maker = maker
        self.dropped = dropped
        self._request = request
        self._output: list[dict[str, Any]] | None = None

    def whole(self, body: bytes) -> bytes:
        try:
            answer = _completions.decode(body)
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's answer is no chat completion: {error}") from None
        choice = answer.choices[0] if answer.choices else _Choice()
        identity = new_id("resp")
        message = choice.message or Message()
        logprobs = (choice.logprobs.content if choice.logprobs else None) or []
        self._output = items_of(message, identity, choice.finish_reason, logprobs, self._maker)
        said = _head(self._request, identity, answer)
        said["output"] = self._output
        _end(said, choice.finish_reason, usage_of_chat(answer.usage))
        return _encode(said)

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        """Return it as it is: both protocols tell errors in the same words."""
        return status, body

    def events(self) -> ResponsesEvents:
        return ResponsesEvents(self._request, self._maker)

    def outcome(self, outcome: Outcome) -> Outcome:
        output = outcome.output
        if self._output is not None:
            output = _encode(self._output)
        elif output:
            try:
                message = next(iter(_messages.decode(output)), None) or Message()
                output = _encode(items_of(message, "resp_recorded", None, [], self._maker))
            except UNREADABLE:
                return outcome
        reasons = tuple(outcome.finish_reasons[:1])
        return msgspec.structs.replace(outcome, output=output, finish_reasons=reasons)


def usage_of(usage: Usage | None) -> dict[str, Any] | None:
    """Say usage in the words of Responses."""
    if usage is None:
        return None
    return {
        "input_tokens": usage.input_total,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output_total,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def _head(request: Mapping[str, Any], identity: str, answer: _Completion) -> dict[str, Any]:
    """Return a response that has just begun; it repeats what it was asked for, as OpenAI's does."""
    text = {name: value for name, value in (request.get("text") or {}).items() if value is not None}
    reasoning = request.get("reasoning") or {}
    return {
        "id": identity,
        "object": "response",
        "created_at": int(answer.created or time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "model": answer.model or request.get("model", ""),
        "output": [],
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": None},
        "service_tier": answer.service_tier or "default",
        "store": False,
        "temperature": request.get("temperature"),
        "text": {"format": {"type": "text"}, **text},
        "tool_choice": request.get("tool_choice", "auto"),
        "tools": request.get("tools", []),
        "top_p": request.get("top_p"),
        "truncation": "disabled",
        "usage": None,
        "user": request.get("user"),
        "metadata": request.get("metadata", {}),
    }


def _end(said: dict[str, Any], reason: str | None, usage: Usage | None) -> None:
    said["usage"] = usage_of(usage)
    if reason in INCOMPLETE:
        said["status"] = "incomplete"
        said["incomplete_details"] = {"reason": INCOMPLETE[reason]}
    else:
        said["status"] = "completed"


class _Open:
    """An item of the answer that is still being said. `kind`: reasoning, text, refusal or call."""

    __slots__ = ("call_id", "identity", "kind", "logprobs", "name", "part", "parts", "pieces", "place")

    def __init__(self, kind: str, identity: str, place: int) -> None:
        self.kind = kind
        self.identity = identity
        self.place = place
        self.part = 0
        self.parts: list[dict[str, Any]] = []
        self.pieces: list[str] = []
        self.logprobs: list[Any] = []
        self.name = self.call_id = ""

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class ResponsesEvents:
    """Chunks of a chat completion in, events of a response out, numbered from 0.

    Texts are closed when something else begins. Calls of tools may come interleaved and stay open to the end.
    """

    def __init__(self, request: Mapping[str, Any], maker: str | None = None) -> None:
        self.done = False
        self._maker = maker
        self._reader = EventReader()
        self._request = request
        self._identity = new_id("resp")
        self._tail = self._identity.removeprefix("resp_")
        self._number = 0
        self._head: dict[str, Any] | None = None
        self._output: list[dict[str, Any] | None] = []
        self._open: _Open | None = None
        self._calls: dict[int, _Open] = {}
        self._reason: str | None = None
        self._usage: Usage | None = None
        self._chars = 0
        self._signature = ""

    @property
    def number(self) -> int:
        """The number of the event that comes next."""
        return self._number

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
            if self._reason is None:
                raise StreamBroken("the upstream's stream ended before its answer did", hint="try again")
            self._finish(said)
        return b"".join(said)

    def _take(self, payload: bytes, said: list[bytes]) -> None:
        if self.done:
            return
        if payload == b"[DONE]":
            if self._head is None:
                raise StreamBroken("the upstream's stream holds no answer", hint="try again")
            self._finish(said)
            return
        try:
            chunk = _completions.decode(payload)
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's stream holds what is no chunk of a chat completion: {error}") from None
        if self._head is None:
            self._begin(chunk, said)
        if bytes(chunk.error) not in (b"", b"null"):
            self._fail(bytes(chunk.error), said)
            return
        if bytes(chunk.usage) not in (b"", b"null"):
            self._usage = usage_of_chat(chunk.usage) or self._usage
        for choice in chunk.choices or ():
            if choice.index:
                continue  # one answer was asked for
            if choice.delta is not None:
                self._delta(choice.delta, (choice.logprobs.content if choice.logprobs else None) or [], said)
            if choice.finish_reason:
                self._reason = choice.finish_reason

    def _event(self, kind: str, said: list[bytes], **fields: Any) -> None:
        body = _encode({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        said.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), body))

    def _begin(self, chunk: _Completion, said: list[bytes]) -> None:
        self._head = _head(self._request, self._identity, chunk)
        self._event("response.created", said, response=self._head)
        self._event("response.in_progress", said, response=self._head)

    def _delta(self, delta: Message, logprobs: list[Any], said: list[bytes]) -> None:
        if delta.thought:
            self._say("reasoning", delta.thought, [], said)
        if self._maker is not None:
            for block in signed_blocks(delta.extra_content):
                self._seal(self._maker, block, said)
        if delta.content:
            self._say("text", delta.content, logprobs, said)
        if delta.refusal:
            self._say("refusal", delta.refusal, [], said)
        for call in delta.tool_calls or ():
            self._call(call, said)
        self._signature = google_signature(delta.extra_content) or self._signature

    def _grow(self, text: str) -> None:
        self._chars += len(text)
        if self._chars > MAX_ANSWER_CHARS:
            raise BadAnswer(f"the answer is longer than {MAX_ANSWER_CHARS:,} characters")

    def _place(self) -> int:
        self._output.append(None)
        return len(self._output) - 1

    def _say(self, kind: str, text: str, logprobs: list[Any], said: list[bytes]) -> None:
        self._grow(text)
        item = self._open
        if item is None or (item.kind == "reasoning") != (kind == "reasoning"):
            self._close(said)
            item = self._open = self._start(kind, said)
        elif item.kind != kind:  # a refusal after a text is another part of the same message
            self._close_part(item, said)
            item.kind = kind
            self._start_part(item, said)
        item.pieces.append(text)
        item.logprobs += logprobs
        where = {"item_id": item.identity, "output_index": item.place, "content_index": item.part}
        if kind == "text":
            self._event("response.output_text.delta", said, **where, delta=text, logprobs=logprobs)
        elif kind == "refusal":
            self._event("response.refusal.delta", said, **where, delta=text)
        else:
            self._event("response.reasoning_text.delta", said, **where, delta=text)

    def _start(self, kind: str, said: list[bytes]) -> _Open:
        place = self._place()
        prefix = "rs" if kind == "reasoning" else "msg"
        item = _Open(kind, f"{prefix}_{self._tail}{place:02x}", place)
        empty = said_item(item.identity, [], "in_progress")
        if kind == "reasoning":
            empty = reasoning(item.identity, "", "in_progress")
        self._event("response.output_item.added", said, output_index=place, item=empty)
        self._start_part(item, said)
        return item

    def _seal(self, maker: str, block: SignedBlock, said: list[bytes]) -> None:
        """End a block of thinking; the open item is its, unless not a word of it was told."""
        item = self._open
        own = item is not None and item.kind == "reasoning" and block.type == "thinking"
        if item is not None and own:
            self._open = None
            text = item.text
            self._close_part(item, said)
        else:
            self._close(said)
            item, text = self._wordless(said), ""
        seal = seal_thought(maker, block, text)
        self._grow(seal)
        self._done(item, sealed_reasoning(item.identity, text, seal), said)

    def _sign(self, what: str, signature: str, said: list[bytes]) -> None:
        self._grow(signature)
        item = self._wordless(said)
        self._done(item, signed(item.identity, what, signature), said)

    def _wordless(self, said: list[bytes]) -> _Open:
        place = self._place()
        item = _Open("reasoning", f"rs_{self._tail}{place:02x}", place)
        empty = reasoning(item.identity, "", "in_progress")
        self._event("response.output_item.added", said, output_index=place, item=empty)
        return item

    def _start_part(self, item: _Open, said: list[bytes]) -> None:
        self._part_event("added", item, _part(item.kind, "", []), said)

    def _part_event(self, what: str, item: _Open, part: dict[str, Any], said: list[bytes]) -> None:
        self._event(
            f"response.content_part.{what}", said, item_id=item.identity, output_index=item.place,
            content_index=item.part, part=part,
        )  # fmt: skip

    def _close_part(self, item: _Open, said: list[bytes]) -> None:
        text = item.text
        where = {"item_id": item.identity, "output_index": item.place, "content_index": item.part}
        if item.kind == "text":
            self._event("response.output_text.done", said, **where, text=text, logprobs=item.logprobs)
        elif item.kind == "refusal":
            self._event("response.refusal.done", said, **where, refusal=text)
        else:
            self._event("response.reasoning_text.done", said, **where, text=text)
        part = _part(item.kind, text, item.logprobs)
        self._part_event("done", item, part, said)
        item.parts.append(part)
        item.part += 1
        item.pieces, item.logprobs = [], []

    def _close(self, said: list[bytes], status: str = "completed") -> None:
        item, self._open = self._open, None
        if item is None:
            return
        self._close_part(item, said)
        if item.kind == "reasoning":
            whole = reasoning(item.identity, item.parts[0]["text"], status)
        else:
            whole = said_item(item.identity, item.parts, status)
        self._done(item, whole, said)

    def _done(self, item: _Open, whole: dict[str, Any], said: list[bytes]) -> None:
        self._output[item.place] = whole
        self._event("response.output_item.done", said, output_index=item.place, item=whole)

    def _call(self, call: Call, said: list[bytes]) -> None:
        number = call.index if call.index is not None else len(self._calls) - (0 if call.id else 1)
        function = call.function or Function()
        known = self._calls.get(number)
        if known is None:
            if len(self._calls) >= MAX_CALLS:
                raise BadAnswer(f"the answer has more than {MAX_CALLS} calls of tools")
            self._close(said)
            if signature := google_signature(call.extra_content):
                self._sign("call", signature, said)
            place = self._place()
            known = self._calls[number] = _Open("call", f"fc_{self._tail}{place:02x}", place)
            known.call_id, known.name = call.id or f"call_{self._tail}{place:02x}", function.name or ""
            item = called(known.identity, known.call_id, known.name, "", "in_progress")
            self._event("response.output_item.added", said, output_index=place, item=item)
        elif function.name and not known.name:
            known.name = function.name
        if function.arguments:
            self._grow(function.arguments)
            known.pieces.append(function.arguments)
            self._event(
                "response.function_call_arguments.delta", said, item_id=known.identity, output_index=known.place,
                delta=function.arguments,
            )  # fmt: skip

    def _finish(self, said: list[bytes]) -> None:
        status = "incomplete" if self._reason in INCOMPLETE else "completed"
        self._close(said, status)
        for call in self._calls.values():
            arguments = call.text
            self._event(
                "response.function_call_arguments.done", said, item_id=call.identity, output_index=call.place,
                name=call.name, arguments=arguments,
            )  # fmt: skip
            self._done(call, called(call.identity, call.call_id, call.name, arguments, status), said)
        if not self._output:  # an answer without a word still has its message
            self._open = self._start("text", said)
            self._close(said, status)
        if self._signature:
            self._sign("text", self._signature, said)
        whole = {**(self._head or {}), "output": self._output}
        _end(whole, self._reason, self._usage)
        self._event(f"response.{whole['status']}", said, response=whole)
        self.done = True

    def _fail(self, raw: bytes, said: list[bytes]) -> None:
        try:
            found = _errors.decode(raw)
        except UNREADABLE:
            found = _Error(message=raw[:1000].decode("utf-8", "replace"))
        detail = found if isinstance(found, _Error) else _Error(message=found)
        error = {
            "code": str(detail.code or detail.type or "server_error"),
            "message": detail.message or "the upstream failed",
        }
        output = [each for each in self._output if each is not None]
        whole = {**(self._head or {}), "status": "failed", "error": error, "output": output}
        self._event("response.failed", said, response=whole)
        self.done = True


def _part(kind: str, text: str, logprobs: list[Any]) -> dict[str, Any]:
    if kind == "text":
        return text_part(text, logprobs)
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "reasoning_text", "text": text}
