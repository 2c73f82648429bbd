"""Spans on their way: frames that a killed writer may tear and a bad disk may spoil, without harm to their neighbours.

A frame is the payload's length (4 bytes, big-endian), its CRC-32 (4 bytes, big-endian) and the payload: a msgpack map
of a `Span`, or a msgpack array of a `SpanGroup`, which says what its spans share only once. A spool segment is frames
one after another; a writer only ever appends.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import msgspec
from zlib_ng.zlib_ng import crc32

from tetrad.kernel import TooLarge, Usage
from tetrad.traces._model import CodeMatch, Span, SpanKind, SpanStatus

HEADER_BYTES = 8
MAX_FRAME_BYTES = 24 * 1024 * 1024
"""The largest payload; a length beyond it can only be damage."""
_MAX_RESTS = 4 * MAX_FRAME_BYTES
SCAN_BUDGET_BYTES = 128 * 1024 * 1024
"""How many bytes of checksums a search for the next whole frame may cost, so that damage cannot stall a reader."""

FrameFaultReason = Literal["length", "checksum", "payload"]


class SharedFields(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all spans of a request have in common; see `Span` for the meaning of each field."""

    project: str
    trace_id: str
    operation: str
    stream: bool
    app: str
    ref: str
    release: str
    binding: str
    prompt_name: str
    prompt_version: str
    code_digest: str
    code_match: CodeMatch
    session: str
    user: str
    unit: str
    key_id: str
    service: str


class OwnFields(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is a span's own; see `Span` for the meaning of each field."""

    name: str
    span_id: str
    parent_id: str
    kind: SpanKind
    start_ns: int
    end_ns: int
    status: SpanStatus
    status_message: str
    error_type: str
    http_status: int
    provider: str
    request_model: str
    response_model: str
    response_id: str
    finish_reasons: tuple[str, ...]
    usage: Usage | None
    cost: str | None
    currency: str
    first_chunk_ns: int
    attempt: int
    input: bytes
    output: bytes
    attributes: dict[str, str]
    input_rest: int = 0
    """So many bytes of the end of the first span's input follow on `input`: a long prompt is written once."""


class SpanGroup(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The spans of one request. Cheaper to write than the spans: the writer is in every request's way."""

    shared: SharedFields
    spans: tuple[OwnFields, ...]

    def expand(self) -> list[Span]:
        """Return the spans."""
        shared: dict[str, Any] = msgspec.structs.asdict(self.shared)
        if sum(own.input_rest for own in self.spans) > _MAX_RESTS:
            raise msgspec.ValidationError("the spans repeat more of their input than a request can")
        return [Span(**shared, **self._fields(own)) for own in self.spans]

    def _fields(self, own: OwnFields) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.structs.asdict(own)
        rest = fields.pop("input_rest")
        whole = self.spans[0].input
        if not 0 <= rest <= len(whole) or (rest and own is self.spans[0]):
            raise msgspec.ValidationError("a span repeats an input that is not there")
        if rest:
            fields["input"] = own.input + whole[len(whole) - rest :]
        return fields


_header = struct.Struct(">II")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Span)
_group_decoder = msgspec.msgpack.Decoder(SpanGroup)


class FrameFault(NamedTuple):
    """A stretch of a segment that holds no readable span: from `offset`, `length` bytes, and why."""

    offset: int
    length: int
    reason: FrameFaultReason


class FrameBatch(NamedTuple):
    """What a chunk held: the spans, the bytes that are dealt with, and the stretches that were not readable.

    Bytes from `consumed` on are the beginning of a frame whose rest is not there (yet).
    """

    spans: list[Span]
    consumed: int
    faults: list[FrameFault]


def encode_frame(span: Span) -> bytes:
    """Return a span as one frame; raises `TooLarge` past `MAX_FRAME_BYTES`."""
    payload = _encoder.encode(span)
    if len(payload) > MAX_FRAME_BYTES:
        raise _too_large(f"span {span.span_id!r}", len(payload))
    return _header.pack(len(payload), crc32(payload)) + payload


def encode_group(group: SpanGroup) -> bytes:
    """Return the spans of a request as one frame; raises `TooLarge` past `MAX_FRAME_BYTES`."""
    payload = _encoder.encode(group)
    if len(payload) > MAX_FRAME_BYTES:
        raise _too_large(f"the spans of trace {group.shared.trace_id!r}", len(payload))
    return _header.pack(len(payload), crc32(payload)) + payload


def _too_large(what: str, size: int) -> TooLarge:
    return TooLarge(
        f"{what}: {size} bytes, at most {MAX_FRAME_BYTES} can be spooled",
        hint="shorten input, output or attributes",
        code="span_too_large",
    )


def _spans_of(payload: memoryview) -> list[Span]:
    first = payload[0]
    if first & 0xF0 == 0x90 or first in (0xDC, 0xDD):  # msgpack's arrays
        return _group_decoder.decode(payload).expand()
    return [_decoder.decode(payload)]


def _unread(_payload: memoryview) -> list[Span]:
    return []


def whole_frames(data: bytes | bytearray | memoryview, *, final: bool = False) -> tuple[int, list[FrameFault]]:
    """Return how much of a chunk can be passed on, and the damage that shows without reading it.

    For whoever only passes frames on, in an event loop that others wait for: it goes from length to length, and counts
    on the receiver for checksums and spans. Only where lengths make no sense does it look as `read_frames` does.
    """
    size, at = len(data), 0
    unpack, furthest = _header.unpack_from, size - HEADER_BYTES
    while at <= furthest:
        length = unpack(data, at)[0]
        if length == 0 or length > MAX_FRAME_BYTES:
            break
        end = at + HEADER_BYTES + length
        if end > size:
            break
        at = end
    if at == size or (not final and _what_is_wrong(memoryview(data), at) is None):
        return at, []
    batch = read_frames(data, final=final, read=_unread)
    return batch.consumed, batch.faults


def decode_frames(
    data: bytes | bytearray | memoryview, *, read: Callable[[memoryview], list[Span]] = _spans_of
) -> tuple[list[Span], int]:
    """Return the spans of the whole frames at the front, and how many bytes they take.

    Stops before the first frame that is torn or damaged; `read_frames` tells which, and reads on behind damage.
    """
    view, size, at = memoryview(data), len(data), 0
    spans: list[Span] = []
    while size - at >= HEADER_BYTES:
        length, checksum = _header.unpack_from(view, at)
        end = at + HEADER_BYTES + length
        if length == 0 or length > MAX_FRAME_BYTES or end > size:
            break
        payload = view[at + HEADER_BYTES : end]
        if crc32(payload) != checksum:
            break
        try:
            spans += read(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            break
        at = end
    return spans, at


def read_frames(
    data: bytes | bytearray | memoryview,
    *,
    final: bool = False,
    read: Callable[[memoryview], list[Span]] = _spans_of,
) -> FrameBatch:
    """Return every readable span of a chunk; damage is skipped and told, never raised.

    An unfinished frame at the end stays for later (`consumed` points before it), unless `final` says that nothing
    will follow: then it is a fault as well and all bytes are consumed. Whether its length is damage is not asked
    before: a search behind it looks at every byte, which stalled gateways for 20 ms a chunk of long prompts.
    """
    view, size, at = memoryview(data), len(data), 0
    spans: list[Span] = []
    faults: list[FrameFault] = []
    budget = SCAN_BUDGET_BYTES
    while at < size:
        good, taken = decode_frames(view[at:], read=read)
        spans += good
        at += taken
        if at >= size:
            break
        reason = _what_is_wrong(view, at)
        if reason == "payload":
            end = at + HEADER_BYTES + _header.unpack_from(view, at)[0]
        elif reason is None and not final:
            break
        else:
            end, budget = _next_frame(view, at + 1, budget)
            reason = reason or "length"
        faults.append(FrameFault(at, end - at, reason))
        at = end
    return FrameBatch(spans, at, faults)


def _what_is_wrong(view: memoryview, at: int) -> FrameFaultReason | None:
    """Say why no span could be read at `at`; None when there are just too few bytes."""
    if len(view) - at < HEADER_BYTES:
        return None
    length, checksum = _header.unpack_from(view, at)
    if length == 0 or length > MAX_FRAME_BYTES:
        return "length"
    end = at + HEADER_BYTES + length
    if end > len(view):
        return None
    return "checksum" if crc32(view[at + HEADER_BYTES : end]) != checksum else "payload"


def _next_frame(view: memoryview, start: int, budget: int) -> tuple[int, int]:
    """Return where the next whole frame begins, else the end of the data, and what is left of the budget."""
    size = len(view)
    for at in range(start, size - HEADER_BYTES):
        length, checksum = _header.unpack_from(view, at)
        end = at + HEADER_BYTES + length
        if length == 0 or length > MAX_FRAME_BYTES or end > size:
            continue
        budget -= length
        if budget < 0:
            break
        if crc32(view[at + HEADER_BYTES : end]) == checksum:
            return at, budget
    return size, budget
