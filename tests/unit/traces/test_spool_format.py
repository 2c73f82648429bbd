from __future__ import annotations

import struct
import subprocess
import sys
import time
import zlib

import msgspec
import pytest

from support.spans import a_span, an_exchange, spool
from tetrad.kernel import TooLarge
from tetrad.traces import (
    FrameFault,
    OwnFields,
    SharedFields,
    Span,
    SpanGroup,
    decode_frames,
    encode_frame,
    encode_group,
    read_frames,
    whole_frames,
)
from tetrad.traces._spool_format import MAX_FRAME_BYTES


def test_a_frame_is_its_length_its_checksum_and_a_msgpack_map() -> None:
    frame = encode_frame(a_span(name="chat"))
    length, checksum = struct.unpack(">II", frame[:8])
    assert length == len(frame) - 8
    assert checksum == zlib.crc32(frame[8:])
    assert msgspec.msgpack.decode(frame[8:])["name"] == "chat"


def test_what_was_written_is_read_back() -> None:
    spans = an_exchange() + an_exchange()
    assert decode_frames(spool(spans)) == (spans, len(spool(spans)))


def test_a_torn_frame_stays_for_later() -> None:
    first, second = an_exchange()
    data = spool([first, second])
    assert decode_frames(data[:-1]) == ([first], len(encode_frame(first)))
    batch = read_frames(data[:-1])
    assert (batch.spans, batch.consumed, batch.faults) == ([first], len(encode_frame(first)), [])


def test_a_torn_frame_that_nothing_follows_is_a_fault() -> None:
    first, second = an_exchange()
    data = spool([first, second])[:-1]
    batch = read_frames(data, final=True)
    at = len(encode_frame(first))
    assert (batch.spans, batch.consumed) == ([first], len(data))
    assert batch.faults == [FrameFault(at, len(data) - at, "length")]


@pytest.mark.parametrize(("byte", "reason"), [(0, "length"), (4, "checksum"), (60, "checksum")])
def test_damage_costs_one_frame_and_is_told(byte: int, reason: str) -> None:
    spans = [a_span(name=f"span {number}") for number in range(5)]
    frames = [encode_frame(span) for span in spans]
    at = len(frames[0]) + len(frames[1])
    data = bytearray(b"".join(frames))
    data[at + byte] ^= 0xFF
    batch = read_frames(data)
    assert batch.spans == [*spans[:2], *spans[3:]]
    assert batch.consumed == len(data)
    assert batch.faults == [FrameFault(at, len(frames[2]), reason)]  # type: ignore[arg-type]


def test_a_whole_frame_that_is_no_span_is_skipped_by_its_length() -> None:
    span = a_span()
    payload = msgspec.msgpack.encode({"hello": "world"})
    foreign = struct.pack(">II", len(payload), zlib.crc32(payload)) + payload
    batch = read_frames(foreign + encode_frame(span))
    assert batch.spans == [span]
    assert batch.faults == [FrameFault(0, len(foreign), "payload")]


def test_text_that_is_not_utf8_is_a_damaged_payload() -> None:
    payload = msgspec.msgpack.encode(a_span(name="NAME")).replace(b"NAME", b"\xff\xfe\xfd\xfc")
    frame = struct.pack(">II", len(payload), zlib.crc32(payload)) + payload
    assert read_frames(frame).faults == [FrameFault(0, len(frame), "payload")]


def test_fields_of_a_newer_writer_do_not_stop_an_older_reader() -> None:
    span = a_span()
    document = msgspec.msgpack.decode(encode_frame(span)[8:])
    payload = msgspec.msgpack.encode({**document, "from_the_future": 1})
    frame = struct.pack(">II", len(payload), zlib.crc32(payload)) + payload
    assert decode_frames(frame) == ([span], len(frame))


def test_a_span_past_the_limit_is_refused_by_its_writer() -> None:
    with pytest.raises(TooLarge, match="at most"):
        encode_frame(a_span(input=bytes(MAX_FRAME_BYTES + 1)))


def test_noise_costs_bounded_time() -> None:
    noise = struct.pack(">II", MAX_FRAME_BYTES // 2, 1) * 400_000
    began = time.process_time()
    batch = read_frames(noise + bytes(MAX_FRAME_BYTES), final=True)
    assert batch.spans == []
    assert batch.consumed == len(noise) + MAX_FRAME_BYTES
    assert time.process_time() - began < 5


def test_the_front_door_brings_no_framework_and_no_database_along() -> None:
    heavy = "('fastapi','pydantic','sqlalchemy','clickhouse_connect','chdb','numpy','pandas','pyarrow','httpx')"
    code = f"import sys, tetrad.traces; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_group_of_spans_is_one_frame_and_reads_as_its_spans() -> None:
    root = a_span(name="root", span_id="1" * 16)
    spans = [root, a_span(name="child", span_id="2" * 16, parent_id="1" * 16, trace_id=root.trace_id)]
    group = SpanGroup(
        SharedFields(**{name: getattr(spans[0], name) for name in SharedFields.__struct_fields__}),
        tuple(_own(span) for span in spans),
    )
    frame = encode_group(group)
    batch = read_frames(encode_frame(spans[0]) + frame + frame[:-1])
    assert batch.spans == [spans[0], *spans]
    assert batch.consumed == len(encode_frame(spans[0])) + len(frame)


def _own(span: Span, **given: object) -> OwnFields:
    fields = {name: getattr(span, name) for name in OwnFields.__struct_fields__ if name != "input_rest"}
    return OwnFields(**{**fields, **given})


def _group(*own: OwnFields) -> SpanGroup:
    span = a_span(name="any")
    return SpanGroup(SharedFields(**{name: getattr(span, name) for name in SharedFields.__struct_fields__}), own)


def test_a_span_may_go_on_with_the_end_of_the_first_spans_input() -> None:
    root = _own(a_span(name="root"), input=b'[{"role":"user"}]')
    child = _own(a_span(name="child"), input=b'[{"role":"system"},', input_rest=len(root.input) - 1)
    [_, read] = read_frames(encode_group(_group(root, child))).spans
    assert read.input == b'[{"role":"system"},{"role":"user"}]'


@pytest.mark.parametrize("rest", [-1, 5, 1 << 40])
def test_a_span_that_goes_on_with_an_input_that_is_not_there_is_damage(rest: int) -> None:
    root = _own(a_span(name="root"), input=b"[{}]")
    child = _own(a_span(name="child"), input=b"", input_rest=rest)
    batch = read_frames(encode_group(_group(root, child)))
    assert (batch.spans, [fault.reason for fault in batch.faults]) == ([], ["payload"])


def test_a_first_span_cannot_go_on_with_itself() -> None:
    root = _own(a_span(name="root"), input=b"[{}]", input_rest=2)
    assert read_frames(encode_group(_group(root))).faults[0].reason == "payload"


def test_a_group_cannot_unfold_to_more_than_a_request_can_say() -> None:
    root = _own(a_span(name="root"), input=b"x" * (1 << 20))
    child = _own(a_span(name="child"), input=b"", input_rest=1 << 20)
    assert read_frames(encode_group(_group(root, *[child] * 90))).spans[-1].input == root.input
    assert read_frames(encode_group(_group(root, *[child] * 100))).faults[0].reason == "payload"


def test_a_group_written_before_inputs_were_shared_reads_as_ever() -> None:
    own = msgspec.to_builtins(_own(a_span(name="root"), input=b"[1]"), builtin_types=(bytes,))[:-1]
    shared = msgspec.to_builtins(_group().shared)
    payload = msgspec.msgpack.encode([shared, [own]])
    [span] = read_frames(struct.pack(">II", len(payload), zlib.crc32(payload)) + payload).spans
    assert span.input == b"[1]"


def test_shared_and_own_fields_are_all_that_a_span_has_but_those_that_no_request_sets() -> None:
    together = {*SharedFields.__struct_fields__, *OwnFields.__struct_fields__} - {"input_rest"}
    assert set(Span.__struct_fields__) - together == {"variant"}
    assert together <= set(Span.__struct_fields__)


def test_frames_can_be_passed_on_without_reading_their_spans() -> None:
    frame = encode_frame(a_span(name="one"))
    data = frame + b"noise" * 7 + frame + frame[:-3]
    batch = read_frames(data)
    assert whole_frames(data) == (batch.consumed, batch.faults)
    assert whole_frames(data, final=True) == read_frames(data, final=True)[1:]


def test_whoever_passes_frames_on_leaves_checksums_to_the_reader() -> None:
    frames = [encode_frame(a_span(name=f"span {number}")) for number in range(3)]
    data = bytearray(b"".join(frames))
    data[len(frames[0]) + 60] ^= 0xFF
    assert whole_frames(data) == (len(data), [])
    assert [fault.reason for fault in read_frames(data).faults] == ["checksum"]


def test_a_length_beyond_the_end_is_looked_into_once_nothing_follows() -> None:
    frames = [encode_frame(a_span(name=f"span {number}")) for number in range(3)]
    data = bytearray(b"".join(frames))
    data[len(frames[0]) + 1] = 0x10  # a frame of a megabyte, it says
    for read in (lambda final: whole_frames(data, final=final), lambda final: read_frames(data, final=final)[1:]):
        assert read(False) == (len(frames[0]), [])
        assert read(True) == (len(data), [FrameFault(len(frames[0]), len(frames[1]), "length")])


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_what_is_passed_on_always_ends_where_a_frame_does(cut: int) -> None:
    frames = [encode_frame(a_span(name=f"span {number}")) for number in range(3)]
    data = b"".join(frames)[: len(frames[0]) + cut]
    ends = [0, len(frames[0]), len(frames[0] + frames[1]), len(b"".join(frames))]
    assert whole_frames(data) == (max(end for end in ends if end <= len(data)), [])
