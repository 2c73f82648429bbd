from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from support.spans import a_span
from tetrad.kernel import Usage
from tetrad.traces import RowLimits, Span, encode_frame, read_frames
from tetrad.traces._rows import COLUMNS, prepare

_texts = st.text(max_size=300)
_numbers = st.integers(min_value=-(2**63), max_value=2**63 - 1)
_spans = st.builds(
    Span,
    project=_texts,
    trace_id=st.one_of(_texts, st.from_regex(r"[0-9a-f]{32}", fullmatch=True)),
    span_id=st.one_of(_texts, st.from_regex(r"[0-9a-f]{16}", fullmatch=True)),
    name=_texts,
    start_ns=st.one_of(_numbers, st.just(1_767_225_600_000_000_000)),
    end_ns=_numbers,
    parent_id=_texts,
    usage=st.one_of(st.none(), st.builds(Usage, _numbers, _numbers, _numbers, _numbers, _numbers)),
    cost=st.one_of(st.none(), _texts, st.decimals(allow_nan=True).map(str)),
    currency=_texts,
    first_chunk_ns=_numbers,
    attempt=_numbers,
    http_status=_numbers,
    finish_reasons=st.lists(_texts, max_size=20).map(tuple),
    input=st.binary(max_size=500),
    output=st.binary(max_size=500),
    attributes=st.dictionaries(_texts, _texts, max_size=12),
)
_NOW = 1_767_225_600_000_000_000 + 3600 * 1_000_000_000
_SMALL = RowLimits(
    text_chars=20, message_chars=50, attributes=4, attribute_chars=30, attributes_chars=80, payload_bytes=64
)


@given(st.lists(_spans, max_size=8), st.lists(st.integers(min_value=1, max_value=400), max_size=60))
def test_spans_survive_any_cutting_of_their_stream(spans: list[Span], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(span) for span in spans)
    read: list[Span] = []
    waiting = b""
    for size in [*cuts, len(stream)]:
        piece, stream = stream[:size], stream[size:]
        batch = read_frames(waiting + piece)
        assert batch.faults == []
        read += batch.spans
        waiting = (waiting + piece)[batch.consumed :]
    assert read == spans
    assert waiting == b""


@given(st.data(), st.integers(min_value=2, max_value=6))
def test_damage_never_raises_and_costs_only_the_frames_it_touches(data: st.DataObject, count: int) -> None:
    spans = [a_span(name=f"span {number}", input=b"x" * 50) for number in range(count)]
    frames = [encode_frame(span) for span in spans]
    stream = bytearray(b"".join(frames))
    at = data.draw(st.integers(min_value=0, max_value=len(stream) - 1))
    until = data.draw(st.integers(min_value=at + 1, max_value=min(len(stream), at + 40)))
    before = bytes(stream[at:until])
    stream[at:until] = data.draw(st.binary(min_size=until - at, max_size=until - at))
    touched, start = set(), 0
    for number, frame in enumerate(frames):
        end = start + len(frame)
        if stream[start:end] != frame and (at < end and until > start):
            touched.add(number)
        start = end
    batch = read_frames(stream, final=True)
    assert batch.consumed == len(stream)
    assert batch.spans == [span for number, span in enumerate(spans) if number not in touched]
    assert bool(batch.faults) == (bytes(stream[at:until]) != before)


@given(st.binary(max_size=2000))
def test_any_bytes_can_be_read(noise: bytes) -> None:
    batch = read_frames(noise, final=True)
    assert batch.consumed == len(noise)
    assert sum(fault.length for fault in batch.faults) <= len(noise)


@given(st.lists(_spans, max_size=6))
def test_every_span_becomes_a_row_within_its_limits_or_is_refused_with_a_reason(spans: list[Span]) -> None:
    prepared = prepare(spans, _NOW, _SMALL)
    assert len(prepared.rows) + len(prepared.refused) == len(spans)
    assert all(reason in ("project", "trace_id", "span_id", "time") for _, reason in prepared.refused)
    for line in prepared.rows:
        row = dict(zip(COLUMNS, msgspec.json.decode(line), strict=True))
        assert len(row["name"]) <= 20
        assert sum(len(key) + len(value) for key, value in row["attributes"].items() if key != "tetrad.cut") <= 80
        assert len(row["attributes"]) <= 5
        assert all(row[field] >= 0 for field in ("duration_ns", "ttft_ns", "input_tokens", "attempt", "http_status"))
        assert row["cost"] is None or -1_000_000 <= float(row["cost"]) <= 1_000_000
        assert len(row["input_preview"]) <= 200
    assert all(len(payload.data) <= 64 for payload in prepared.payloads.values())
    assert prepare(spans, _NOW, _SMALL).rows == prepared.rows
