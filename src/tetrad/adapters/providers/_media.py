"""What of the OpenAI protocol is neither chat nor embeddings: images, speech, transcriptions, moderations, rerank.

Requests go on as they came; of answers only usage, counts and texts are read, never pictures or sound.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from tetrad.kernel import UNREADABLE, Clock, Usage, usage_of_parts
from tetrad.kit.upstream import BrokenAnswer, Response
from tetrad.serving.ports import ModelCall, Outcome

KINDS = frozenset(("moderations", "rerank", "images", "transcriptions", "speech"))
_TAIL_BYTES = 262_144
_LAST_EVENTS = (".completed", ".done")
_PLAIN = (b"text/", b"application/x-subrip")
"""What transcriptions may be instead of JSON: text, SRT, VTT."""


class _Details(msgspec.Struct, frozen=True, gc=False):
    text_tokens: int | None = None
    image_tokens: int | None = None
    audio_tokens: int | None = None
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    type: str | None = None
    seconds: float | None = None
    prompt_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: _Details | None = None
    input_token_details: _Details | None = None
    output_tokens_details: _Details | None = None
    output_token_details: _Details | None = None


class _Billed(msgspec.Struct, frozen=True):
    search_units: float | None = None


class _Meta(msgspec.Struct, frozen=True):
    billed_units: _Billed | None = None


class _Answer(msgspec.Struct, frozen=True):
    id: str | None = None
    model: str | None = None
    text: str | None = None
    type: str | None = None
    data: list[msgspec.Raw] | None = None
    results: list[msgspec.Raw] | None = None
    usage: _Usage | None = None
    meta: _Meta | None = None


_answers = msgspec.json.Decoder(_Answer)
_text = msgspec.json.Decoder(str)


def request_of(call: ModelCall) -> tuple[bytes, bytes]:
    """Return what to send, and the header lines that say what it is: a form with the upstream's name of the model."""
    if call.form is None:
        return b"", msgspec.json.encode(call.fields)
    model = msgspec.json.decode(call.fields["model"], type=str)
    return b"content-type: " + call.form.content_type + b"\r\n", call.form.asking(model)


def read_outcome(call: ModelCall, body: bytes, content_type: bytes) -> Outcome:
    """Tell what a whole answer says of itself; raises `msgspec.MsgspecError` for what is none."""
    if call.operation.kind == "transcriptions" and content_type.startswith(_PLAIN):
        return Outcome(output=_said(body.decode("utf-8", "replace")))
    return _outcome(_answers.decode(body), call.operation.kind)


def asked_units(call: ModelCall) -> dict[str, Decimal]:
    """Return what a call costs by what it asks for: speech by the characters of its text."""
    if call.operation.kind != "speech":
        return {}
    try:
        return {"character": Decimal(len(_text.decode(call.fields["input"])))}
    except (KeyError, msgspec.MsgspecError):
        return {}


def comes_as_it_is(call: ModelCall, response: Response) -> bool:
    """Tell whether an answer is passed on while it comes: sound, and events that are no chat."""
    content_type = response.header(b"content-type") or b""
    return call.operation.kind == "speech" or content_type.startswith(b"text/event-stream")


class PassedStream:
    """An answer that is passed on as it comes. Its size is kept, and of events the end, which tells the usage."""

    stream = True
    dropped: tuple[str, ...] = ()

    def __init__(
        self, response: Response, clock: Clock, name: str, most: int, units: dict[str, Decimal] | None = None
    ) -> None:
        self._units = units or {}
        self.status = response.status
        content_type = response.header(b"content-type") or b"application/octet-stream"
        self._events = content_type.startswith(b"text/event-stream")
        self.headers: list[tuple[bytes, bytes]] = [] if self._events else [(b"content-type", content_type)]
        self.done = False
        self.received_ns = clock.now_ns()
        self._clock = clock
        self._response = response
        self._name = name
        self._most = most
        self._bytes = 0
        self._first_ns = 0
        self._tail = b""

    async def read(self) -> bytes:
        piece = await self._response.read()
        if not piece:
            self.done = True
            return b""
        if not self._first_ns:
            self._first_ns = self._clock.now_ns()
        self._bytes += len(piece)
        if self._bytes > self._most:
            raise BrokenAnswer(
                f"the answer of the upstream {self._name!r} is larger than {self._most:,} bytes",
                hint="an administrator may raise TETRAD_GATEWAY_MAX_ANSWER_BYTES",
            )
        if self._events:
            self._tail = (self._tail + piece)[-_TAIL_BYTES:]
        return piece

    def outcome(self) -> Outcome:
        found = self._last() if self._events else Outcome()
        attributes = {**found.attributes, "answer.bytes": str(self._bytes)}
        units = {**self._units, **found.units} if self._bytes else {}
        return msgspec.structs.replace(
            found, first_chunk_ns=self._first_ns, attributes=attributes, units=units, priced=found.priced and not units
        )

    def close(self) -> None:
        if not self.done:
            self._response.close()

    def _last(self) -> Outcome:
        for line in reversed(self._tail.split(b"\n")):
            if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
                continue
            try:
                answer = _answers.decode(line[5:])
            except UNREADABLE:
                break
            if (answer.type or "").endswith(_LAST_EVENTS):
                return _outcome(answer, "")
            break
        if self.done and not self._bytes:
            return Outcome(error_type="stream_truncated", error_message="the stream ended before it began")
        return Outcome()


def _outcome(answer: _Answer, kind: str) -> Outcome:
    attributes = {}
    units: dict[str, Decimal] = {}
    for name, found in (("data", answer.data), ("results", answer.results)):
        if found is not None:
            attributes[f"{name}.count"] = str(len(found))
    said = answer.usage
    if said is not None and said.seconds is not None:
        attributes["audio.seconds"] = f"{said.seconds:g}"
        units["second"] = Decimal(str(said.seconds))
    if answer.meta is not None and answer.meta.billed_units is not None:
        searched = answer.meta.billed_units.search_units
        if searched is not None:
            attributes["search_units"] = f"{searched:g}"
            units["search_unit"] = Decimal(str(searched))
    if kind == "images" and answer.data is not None:
        units["image"] = Decimal(len(answer.data))
    usage, tokens = _usage(said)
    units.update(tokens)
    return Outcome(
        usage=usage,
        response_model=answer.model or "",
        response_id=answer.id or "",
        output=_said(answer.text) if answer.text is not None else b"",
        attributes=attributes,
        priced=not units,
        units=units,
    )


def _usage(said: _Usage | None) -> tuple[Usage | None, dict[str, Decimal]]:
    """Return what was counted in tokens, and how many of them are no text."""
    if said is None:
        return None, {}
    read = said.input_tokens if said.input_tokens is not None else said.prompt_tokens
    if read is None and said.output_tokens is None:
        if said.total_tokens is None:
            return None, {}
        read = said.total_tokens
    details = said.input_tokens_details or said.input_token_details or _Details()
    usage = usage_of_parts(read or 0, said.output_tokens or 0, cached=details.cached_tokens or 0)
    made = said.output_tokens_details or said.output_token_details or _Details()
    units = {
        "image_input": details.image_tokens,
        "audio_input": details.audio_tokens,
        "image_output": made.image_tokens,
        "audio_output": made.audio_tokens,
    }
    return usage, {name: Decimal(count) for name, count in units.items() if count}


def _said(text: str) -> bytes:
    return msgspec.json.encode([{"role": "assistant", "content": text}])
