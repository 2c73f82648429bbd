"""What OpenAI's Responses say, for upstreams that speak them natively: read, never changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal

import msgspec

from tetrad.kernel import UNREADABLE, Usage, usage_of_parts
from tetrad.serving.ports import ModelCall, Outcome

_NOTHING = msgspec.Raw(b"")
_ENDS = frozenset(("response.completed", "response.incomplete", "response.failed", "error"))
_MAYBE_END = re.compile(rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed)|error)"')
FOREIGN = re.compile(rb'"tetrad\.(?:google|anthropic|openai)\.')
"""What encrypted reasoning begins with that others made, or signed, in an earlier turn of the conversation."""
_BLANK = re.compile(rb"\r?\n\r?\n")


class _InputDetails(msgspec.Struct, frozen=True, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct, frozen=True, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Reason(msgspec.Struct, frozen=True):
    reason: str | None = None


class _Error(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | None = None


class _Response(msgspec.Struct, frozen=True):
    id: str
    object: str
    output: msgspec.Raw = _NOTHING
    model: str | None = None
    status: str | None = None
    usage: _Usage | None = None
    error: _Error | None = None
    incomplete_details: _Reason | None = None


class _Event(msgspec.Struct, frozen=True):
    type: str = ""
    response: msgspec.Raw = _NOTHING
    delta: msgspec.Raw = _NOTHING
    message: str | None = None
    code: str | None = None
    sequence_number: msgspec.Raw = _NOTHING


_responses = msgspec.json.Decoder(_Response)
_events = msgspec.json.Decoder(_Event)
_text = msgspec.json.Decoder(str)
_numbers = msgspec.json.Decoder(int)
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NUMBER = b'"sequence_number"'
_MOST_EVENTS = 2**53
"""No stream has so many; a larger number is none that JSON's readers share (RFC 8259, 6)."""


def read_response(body: bytes) -> Outcome:
    """Return what became of a whole answer; raises `msgspec.MsgspecError` for what is none."""
    return _outcome(_responses.decode(body))


def end_of_response(events: bytes) -> int | None:
    """Return where the event that ends a response's stream ends; None where it is absent."""
    if _MAYBE_END.search(events) is None:
        return None
    start = 0
    for match in _BLANK.finditer(events):
        event = events[start : match.end()]
        start = match.end()
        if _MAYBE_END.search(event) and any(found.type in _ENDS for found in _read(event)):
            return start
    return None


class ResponsesReader:
    """Put a stream together: its last event holds everything; without it, what was said so far."""

    def __init__(self) -> None:
        self.id = self.model = self.error_type = self.error_message = ""
        self.usage: Usage | None = None
        self.units: dict[str, Decimal] = {}
        self.unread = 0
        self.finish_reasons: tuple[str, ...] = ()
        self._numbered = _NOTHING
        self._since = 0
        self._output = b""
        self._pieces: list[str] = []

    @property
    def messages(self) -> bytes:
        """The items of the answer, as a JSON array; b"" where there was none."""
        if self._output or not self._pieces:
            return self._output
        part = {"type": "output_text", "text": "".join(self._pieces)}
        return msgspec.json.encode([{"type": "message", "role": "assistant", "content": [part]}])

    @property
    def events(self) -> int:
        """The number of the event that would come next; events without numbers are counted."""
        try:
            number = _numbers.decode(self._numbered)
        except UNREADABLE:
            return self._since
        return (number + 1 if number < _MOST_EVENTS else 0) + self._since

    def feed(self, events: bytes, *, torn: bool = False) -> None:
        """Read whole events; where the front is `torn`, what cannot be read there does not count."""
        for event in _read(events):
            if bytes(event.sequence_number):
                self._numbered, self._since = event.sequence_number, 0
            else:
                self._since += 1
            if event.type == "response.output_text.delta" and bytes(event.delta):
                self._take_delta(event.delta)
            elif event.type == "error":
                self.error_type, self.error_message = event.code or "upstream_error", event.message or ""
            elif event.type == "response.created" or event.type in _ENDS:
                self._take(event, torn=torn)

    def _take_delta(self, raw: msgspec.Raw) -> None:
        try:
            self._pieces.append(_text.decode(raw))
        except UNREADABLE:
            self.unread += 1

    def _take(self, event: _Event, *, torn: bool) -> None:
        try:
            response = _responses.decode(event.response)
        except UNREADABLE:
            self.unread += not torn
            return
        found = _outcome(response)
        self.id, self.model = found.response_id, found.response_model
        if event.type in _ENDS:
            self.usage, self.finish_reasons, self._output = found.usage, found.finish_reasons, found.output
            self.error_type, self.error_message = found.error_type, found.error_message


def numbered(events: bytes, number: Callable[[], int]) -> bytes:
    """Return a stream's last events, of which the `error` that ends it has a number, though its upstream gave none.

    Clients need it: to the official ones it is no error event without.
    """
    end = len(events.rstrip(b"\r\n"))
    start = max(events.rfind(b"\n\n", 0, end) + 2, events.rfind(b"\n\r\n", 0, end) + 3)
    last = events[start if start > 2 else 0 :]
    if b'"error"' not in last or _NUMBER in last:
        return events
    lines = [line[5:].strip() for line in last.splitlines() if line.startswith(b"data:")]
    try:
        said = _objects.decode(b"\n".join(lines))
    except UNREADABLE:
        return events
    if bytes(said.get("type", b"")) != b'"error"':
        return events
    said["sequence_number"] = msgspec.Raw(b"%d" % number())
    return events[: len(events) - len(last)] + b"event: error\ndata: " + msgspec.json.encode(said) + b"\n\n"


def _readable(output: bytes) -> bytes:
    """Return what is recorded of an answer: nothing where it is no UTF-8, which nobody could read again."""
    if output.isascii():
        return output
    try:
        output.decode()
    except UnicodeDecodeError:
        return b""
    return output


def _outcome(response: _Response) -> Outcome:
    error, details = response.error, response.incomplete_details
    reason = (details.reason if details else None) or response.status or ""
    return Outcome(
        usage=_usage(response.usage),
        response_model=response.model or "",
        response_id=response.id,
        finish_reasons=(reason,) if reason else (),
        output=_readable(bytes(response.output)),
        error_type=(error.code or "upstream_error") if error else "",
        error_message=(error.message or "") if error else "",
    )


def _usage(said: _Usage | None) -> Usage | None:
    if said is None or (said.input_tokens is None and said.output_tokens is None):
        return None
    details = said.input_tokens_details
    cached = (details.cached_tokens if details else None) or 0
    written = (details.cache_write_tokens if details else None) or 0
    reasoning = (said.output_tokens_details.reasoning_tokens if said.output_tokens_details else None) or 0
    return usage_of_parts(
        said.input_tokens or 0, said.output_tokens or 0, cached=cached, written=written, reasoning=reasoning
    )


def _read(events: bytes) -> Iterator[_Event]:
    for line in events.split(b"\n"):
        if line.startswith(b"data:"):
            try:
                yield _events.decode(line[5:].strip())
            except UNREADABLE:
                continue


def own_reasoning(call: ModelCall) -> ModelCall:
    """Return the call without the reasoning that others signed, which this upstream could not read; it is named."""
    try:
        items = msgspec.json.decode(call.fields["input"], type=list[dict[str, msgspec.Raw]])
    except UNREADABLE:
        return call  # a text, or what the upstream will refuse itself
    kept, lost = [], {}
    for number, item in enumerate(items):
        if FOREIGN.match(item.get("encrypted_content", b"")):
            lost[f"input[{number}]"] = item["encrypted_content"]
        else:
            kept.append(item)
    fields = {**call.fields, "input": msgspec.Raw(msgspec.json.encode(kept))}
    return msgspec.structs.replace(call, fields=fields, unsaid={**call.unsaid, **lost})
