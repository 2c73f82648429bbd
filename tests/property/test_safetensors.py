"""Safetensors headers: what is written is read, and no bytes make the reader crash."""

from __future__ import annotations

import contextlib
import io
import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from support.weights import safetensors
from tetrad.kit.gguf import BadGguf, read_gguf_from
from tetrad.kit.safetensors import BITS, BadSafetensors, read_safetensors_from

whole_types = sorted(dtype for dtype, bits in BITS.items() if bits >= 8)
shapes = st.dictionaries(
    st.text(min_size=1, max_size=20).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(whole_types), st.lists(st.integers(0, 5), max_size=4).map(tuple)),
    max_size=8,
)


@given(tensors=shapes, metadata=st.none() | st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4))
def test_what_is_written_is_read(
    tensors: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str] | None
) -> None:
    data = safetensors(tensors, metadata)
    header = read_safetensors_from(io.BytesIO(data), len(data), "m")
    assert {name: (each.dtype, each.shape) for name, each in header.tensors.items()} == tensors
    assert header.metadata == (metadata or {})
    assert header.parameters == sum(math.prod(shape) for _, shape in tensors.values())


@given(
    data=st.binary(max_size=200)
    | st.builds(lambda text: struct.pack("<Q", len(text)) + text, st.binary(max_size=200).map(lambda b: b"{" + b))
)
def test_no_bytes_make_the_reader_crash(data: bytes) -> None:
    with contextlib.suppress(BadSafetensors):
        read_safetensors_from(io.BytesIO(data), len(data), "m")


@given(tensors=shapes, place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_header_is_read_or_refused(
    tensors: dict[str, tuple[str, tuple[int, ...]]], place: int, value: int
) -> None:
    data = bytearray(safetensors(tensors, {"format": "pt"}))
    data[place % len(data)] = value
    with contextlib.suppress(BadSafetensors):
        read_safetensors_from(io.BytesIO(bytes(data)), len(data), "m")


@given(data=st.binary(max_size=300).map(lambda tail: b"GGUF" + struct.pack("<I", 3) + tail))
def test_no_bytes_make_the_reader_of_gguf_crash(data: bytes) -> None:
    with contextlib.suppress(BadGguf):
        read_gguf_from(io.BytesIO(data), len(data), "m")
