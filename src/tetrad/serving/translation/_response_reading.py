"""What upstreams of OpenAI's Responses answer: a response and its items, or events that tell them piece by piece."""

from __future__ import annotations

from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, TetradError, Usage, usage_of_parts
from tetrad.serving.errors import BadAnswer, error_event
from tetrad.serving.translation._events import StreamTranslator
from tetrad.serving.translation.openai_signatures import Reasoning

MAX_ITEMS = 4096
"""Of one answer."""
MAX_SEALED_CHARS = 16 * 1024 * 1024
_NOTHING = msgspec.Raw(b"")
_STATUSES = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "server_is_overloaded": 503,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "vector_store_timeout": 504,
}


class Part(msgspec.Struct, frozen=True):
    """A part of a message, of a summary or of what was thought aloud."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    logprobs: list[Any] | None = None


class Item(msgspec.Struct, frozen=True):
    """An item of a response."""

    type: str | None = None
    id: str | None = None
    status: str | None = None
    content: list[Part] | None = None
    summary: list[Part] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: Any = None

    @property
    def is_call(self) -> bool:
        """Whether the client is to do something: a function, or a tool of its own kind."""
        return self.type in ("function_call", "custom_tool_call")

    def thought(self, maker: str) -> tuple[Reasoning, str]:
        """Return an item of reasoning and its text: the summary, or what was thought aloud where there is none."""
        summary = [part.text for part in self.summary or () if part.text]
        aloud = not summary
        texts = summary or [part.text for part in self.content or () if part.text]
        found = Reasoning(
            maker, self.id or "", self.encrypted_content or "", tuple(map(len, texts)), aloud and bool(texts)
        )
        return found, found.between.join(texts)


class Said(msgspec.Struct, frozen=True):
    """An error, as a response, an event or an answer tells it."""

    message: str | None = None
    code: str | int | None = None
    type: str | None = None


class _Why(msgspec.Struct, frozen=True):
    reason: str | None = None


class _Cached(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Thought(msgspec.Struct, frozen=True, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Cached | None = None
    output_tokens_details: _Thought | None = None


class Response(msgspec.Struct, frozen=True):
    """A response, whole or as far as it is."""

    id: str | None = None
    object: str | None = None
    model: str | None = None
    created_at: int | float | None = None
    status: str | None = None
    output: list[Item] | None = None
    error: Said | None = None
    incomplete_details: _Why | None = None
    service_tier: str | None = None
    usage: msgspec.Raw = _NOTHING

    @property
    def cut(self) -> str:
        """Why the answer is incomplete; empty where it is not."""
        if self.status != "incomplete":
            return ""
        return (self.incomplete_details.reason if self.incomplete_details else None) or "max_output_tokens"

    def tokens(self) -> Usage | None:
        """Return what was used, in disjoint buckets; None where nothing readable was said."""
        try:
            said = _usages.decode(self.usage) if bytes(self.usage) else None
        except UNREADABLE:
            return None
        if said is None or (said.input_tokens is None and said.output_tokens is None):
            return None
        read, thought = said.input_tokens_details, said.output_tokens_details
        cached, written = (read.cached_tokens if read else 0) or 0, (read.cache_write_tokens if read else 0) or 0
        reasoning = (thought.reasoning_tokens if thought else None) or 0
        return usage_of_parts(
            said.input_tokens or 0, said.output_tokens or 0, cached=cached, written=written, reasoning=reasoning
        )


class Event(msgspec.Struct, frozen=True):
    """An event of a stream."""

    type: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    delta: Any = None
    logprobs: list[Any] | None = None
    item: msgspec.Raw = _NOTHING
    response: msgspec.Raw = _NOTHING
    error: Said | None = None
    message: str | None = None
    code: str | int | None = None


_UNNAMED = Response()
"""What is told of a response whose stream does not begin with it."""
_responses = msgspec.json.Decoder(Response)
_items = msgspec.json.Decoder(Item)
_lists = msgspec.json.Decoder(list[Item])
_events = msgspec.json.Decoder(Event)
_usages = msgspec.json.Decoder(_Usage | None)


def read_response(body: bytes | msgspec.Raw) -> Response:
    """Return a good response; raises `TetradError` for one that failed, `BadAnswer` for what is none."""
    try:
        found = _responses.decode(body)
    except UNREADABLE as error:
        raise BadAnswer(f"the upstream's answer is no response: {error}") from None
    if found.error is not None or found.status in ("failed", "cancelled"):
        raise failure(found.error or Said(f"the response was {found.status}"))
    if found.object != "response":
        raise BadAnswer("the upstream's answer is no response: it has not the fields of one")
    return found


def read_items(output: bytes) -> list[Item]:
    """Return the items of a recorded answer; raises `msgspec.MsgspecError` for what are none."""
    return _lists.decode(output)


def failure(said: Said | None) -> TetradError:
    """Return the error that an upstream told in a good answer, or in the middle of one."""
    detail = said or Said()
    code = str(detail.code or detail.type or "server_error")
    return TetradError(detail.message or "the upstream failed", code=code, status=_STATUSES.get(code, 502))


class ResponseEvents(StreamTranslator):
    """Events of a response in; subclasses say what they mean, in the words of their `dialect`."""

    dialect = "openai"

    def __init__(self, maker: str) -> None:
        super().__init__()
        self._maker = maker
        self._begun = False
        self._reason = ""
        self._items = self._sealed = 0

    def _take(self, payload: bytes, said: list[bytes]) -> None:
        if payload == b"[DONE]":  # of servers that end every stream so
            return
        try:
            event = _events.decode(payload)
            item = _items.decode(event.item) if bytes(event.item) else None
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's stream holds what is no event of a response: {error}") from None
        kind = event.type or ""
        if kind in ("response.completed", "response.incomplete"):
            response = read_response(event.response)
            self._start(response, said)
            self._reason = response.cut or "completed"
            self._ended(response, said)
            self.done = True
        elif kind in ("response.failed", "error"):
            said.append(error_event(self._failed(event), self.dialect))
            self.done = True
        elif kind == "response.created":
            self._start(read_response(event.response), said)
        elif kind == "response.output_item.added" and item is not None:
            self._start(_UNNAMED, said)
            self._items += 1
            if self._items > MAX_ITEMS:
                raise BadAnswer(f"the answer has more than {MAX_ITEMS:,} items")
            self._added(event, item, said)
        elif kind == "response.output_item.done" and item is not None:
            self._start(_UNNAMED, said)
            self._item(event, item, said)
        elif kind.endswith(".delta") and isinstance(event.delta, str) and event.delta:
            self._start(_UNNAMED, said)
            self._delta(kind, event, event.delta, said)

    def _start(self, response: Response, said: list[bytes]) -> None:
        if not self._begun:
            self._begun = True
            self._begin(response, said)

    def _failed(self, event: Event) -> TetradError:
        if event.type == "error":
            return failure(event.error or Said(event.message, event.code))
        try:
            return failure(_responses.decode(event.response).error)
        except UNREADABLE:
            return failure(None)

    def _carried(self, sealed: str) -> str:
        """Return what a client carries, within its limit."""
        self._sealed += len(sealed)
        if self._sealed > MAX_SEALED_CHARS:
            raise BadAnswer("the answer carries more encrypted reasoning than can be kept")
        return sealed

    def _begin(self, response: Response, said: list[bytes]) -> None:
        raise NotImplementedError

    def _added(self, event: Event, item: Item, said: list[bytes]) -> None:
        raise NotImplementedError

    def _delta(self, kind: str, event: Event, text: str, said: list[bytes]) -> None:
        raise NotImplementedError

    def _item(self, event: Event, item: Item, said: list[bytes]) -> None:
        raise NotImplementedError

    def _ended(self, response: Response, said: list[bytes]) -> None:
        raise NotImplementedError
