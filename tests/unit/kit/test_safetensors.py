"""Headers of safetensors files: what they say, and what is refused of hostile ones."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from support.weights import safetensors
from tetrad.kit.safetensors import MAX_HEADER_BYTES, BadSafetensors, read_safetensors, read_safetensors_from

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def read(header: Any, data: bytes = b"", *, length: int | None = None) -> Any:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file = struct.pack("<Q", len(text) if length is None else length) + text + data
    return read_safetensors_from(io.BytesIO(file), len(file), "m.safetensors")


def test_a_header_tells_tensors_types_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(
        safetensors({"a": ("F32", (2, 3)), "b": ("BF16", (4,)), "empty": ("F16", (0, 8))}, {"format": "pt"})
    )
    header = read_safetensors(path)
    assert (header.parameters, header.dtypes) == (10, {"F32": 6, "BF16": 4, "F16": 0})
    assert header.tensors["a"].shape == (2, 3)
    assert header.metadata == {"format": "pt"}
    assert header.file_bytes == path.stat().st_size


def test_types_of_less_than_a_byte_are_counted_in_bits() -> None:
    assert read({"a": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}, b"12").parameters == 4
    with pytest.raises(BadSafetensors, match="values of 4 bits"):
        read({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, b"12")


@pytest.mark.parametrize(
    ("header", "data", "why"),
    [
        (b"", b"", "does not begin"),
        (b"[]", b"", "does not begin"),
        (b" {}", b"", "does not begin"),
        (b"{", b"", "no JSON"),
        (b'{"a":' + b"[" * 50_000, b"", "no JSON"),
        ({"a": 1}, b"", "none"),
        ({"a": {**F32, "more": 1}}, b"12345678", "none"),
        ({"a": {"dtype": "F32", "shape": [2]}}, b"12345678", "none"),
        ({"a": {**F32, "shape": [-2]}}, b"12345678", "none"),
        ({"a": {**F32, "shape": [2.5]}}, b"12345678", "none"),
        ({"a": {**F32, "shape": [2**60]}}, b"12345678", "none"),
        ({"a": {**F32, "shape": [2**40, 2**40]}}, b"12345678", "has the type"),
        ({"a": {**F32, "shape": [1] * 17}}, b"12345678", "has the type"),
        ({"a": {**F32, "dtype": "PICKLE"}}, b"12345678", "has the type"),
        ({"a": {**F32, "data_offsets": [8, 0]}}, b"12345678", "in -8 bytes"),
        ({"a": {**F32, "data_offsets": [0, 7]}}, b"12345678", "in 7 bytes"),
        ({"a": F32, "b": F32}, b"12345678", "overlap"),
        ({"a": {**F32, "data_offsets": [4, 12]}}, b"123456789012", "hole"),
        ({"a": F32}, b"1234567", "cut off"),
        ({"a": F32}, b"123456789", "behind its tensors"),
        ({"__metadata__": {"a": 1}, "a": F32}, b"12345678", "no JSON"),
        ({"__metadata__": "x", "a": F32}, b"12345678", "no JSON"),
        ({"": F32}, b"12345678", "length"),
        ({"n" * 2000: F32}, b"12345678", "length"),
        ({"a": {**F32, "shape": [1] * 5000 + [2]}}, b"12345678", "length"),
    ],
)
def test_what_is_no_header_is_refused(header: Any, data: bytes, why: str) -> None:
    with pytest.raises(BadSafetensors, match=why) as caught:
        read(header, data)
    assert caught.value.hint
    assert "m.safetensors" in caught.value.message


def test_names_that_stand_twice_are_refused_on_every_level() -> None:
    entry = json.dumps(F32)
    empty = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    for text in (
        f'{{"a":{empty},"a":{entry}}}',
        f'{{"a":{entry},"\\u0061":{entry}}}',
        '{"a":{"dtype":"F16","dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{entry}}}',
        f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{entry}}}',
    ):
        with pytest.raises(BadSafetensors, match="twice"):
            read(text.encode(), b"12345678")


def test_names_with_quotes_and_braces_are_names() -> None:
    assert list(read({'a"{[': F32, "__metadata__": {'"}': "{\\"}}, b"12345678").tensors) == ['a"{[']


def test_lengths_are_checked_before_anything_is_read() -> None:
    with pytest.raises(BadSafetensors, match="claims a header"):
        read({}, length=MAX_HEADER_BYTES + 1)
    with pytest.raises(BadSafetensors, match="middle of its header"):
        read({}, length=3)
    with pytest.raises(BadSafetensors, match="no header"):
        read_safetensors_from(io.BytesIO(b"1234"), 4, "m.safetensors")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadSafetensors, match="cannot be read"):
        read_safetensors(tmp_path / "none.safetensors")
