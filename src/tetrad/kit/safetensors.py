"""Read the header of safetensors files (the format of Hugging Face: 8 bytes of length, JSON, then the tensors).

Source: https://github.com/huggingface/safetensors, section "Format". The file may come from a stranger: the header's
length is checked against the format's limit and the file's size before anything is read, and what the format forbids -
names that stand twice, tensors that overlap, leave holes or end outside the file - is refused.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from tetrad.kernel import InvalidInput

MAX_HEADER_BYTES = 100_000_000
MAX_TENSORS = 500_000
MAX_RANK = 16
MAX_VALUES = 2**48
MAX_ENTRY_BYTES = 4_096
MAX_NAME_CHARS = 1_024
MAX_METADATA_BYTES = 4 << 20
_METADATA = "__metadata__"

BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one value by type."""

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


class BadSafetensors(InvalidInput):
    """The file is no safetensors file, is damaged, or is cut off."""

    code = "bad_safetensors"


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0, le=MAX_VALUES)], ...]
    data_offsets: tuple[Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=0)]]


_raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
_entry = msgspec.json.Decoder(_Entry)
_texts = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its type, such as `BF16`, and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What a safetensors file says of itself. `dtypes` counts values by type."""

    tensors: dict[str, Tensor] = field(repr=False)
    metadata: dict[str, str] = field(repr=False)
    parameters: int
    dtypes: dict[str, int]
    file_bytes: int


def read_safetensors(path: Path) -> SafetensorsHeader:
    """Read the header of a file, or raise `BadSafetensors`. Never reads the weights; notices when they are cut off."""
    try:
        with path.open("rb") as file:
            return read_safetensors_from(file, os.fstat(file.fileno()).st_size, path.name)
    except OSError as error:
        raise BadSafetensors(f"{str(path)!r} cannot be read: {error.strerror}", hint="check the file") from None


def read_safetensors_from(file: BinaryIO, size: int, name: str) -> SafetensorsHeader:
    """Read the header of an open file of `size` bytes; `name` is for errors."""

    def bad(what: str) -> BadSafetensors:
        return BadSafetensors(f"{name!r} {what}", hint="fetch the file again, or choose another model")

    start = _read_fully(file, 8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > MAX_HEADER_BYTES:
        raise bad("has no header of safetensors" if len(start) < 8 else f"claims a header of {length} bytes")
    if 8 + length > size:
        raise bad("ends in the middle of its header")
    header = _read_fully(file, length)
    if len(header) < length:
        raise bad("ends in the middle of its header")
    if header[:1] != b"{":
        raise bad("has a header that does not begin with {")
    try:
        entries = _raw.decode(header)
        metadata = _metadata(entries.pop(_METADATA, None))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise bad(f"has a header that is no JSON of safetensors: {str(error)[:200]}") from None
    if len(entries) > MAX_TENSORS:
        raise bad(f"claims {len(entries)} tensors")
    try:
        tensors, spans = _tensors(entries)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise bad(f"has a tensor that is none: {str(error)[:200]}") from None
    has_metadata = metadata is not None
    if _names(header) != (len(entries) + has_metadata, 4 * len(entries) + 2 * len(metadata or {})):
        raise bad("has a name that stands twice in its header")
    data_bytes = size - 8 - length
    end = 0
    for begin, until, tensor in sorted(spans):
        if begin != end:
            raise bad(f"has tensors that {'overlap' if begin < end else 'leave a hole'} at {tensor[:80]!r}")
        end = until
    if end > data_bytes:
        raise bad(f"is cut off: it needs {8 + length + end} bytes and has {size}")
    if end < data_bytes:
        raise bad(f"has {data_bytes - end} bytes behind its tensors")
    dtypes: dict[str, int] = {}
    for each in tensors.values():
        dtypes[each.dtype] = dtypes.get(each.dtype, 0) + math.prod(each.shape)
    return SafetensorsHeader(tensors, metadata or {}, sum(dtypes.values()), dtypes, size)


def _read_fully(file: BinaryIO, count: int) -> bytes:
    """Return `count` bytes, fewer at the end: a store may hand them out in pieces."""
    pieces = []
    while count and (piece := file.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _metadata(raw: msgspec.Raw | None) -> dict[str, str] | None:
    if raw is None:
        return None
    if len(bytes(raw)) > MAX_METADATA_BYTES:
        raise msgspec.ValidationError("the metadata is too long")
    return _texts.decode(raw)


def _tensors(entries: Mapping[str, msgspec.Raw]) -> tuple[dict[str, Tensor], list[tuple[int, int, str]]]:
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int, str]] = []
    for name, raw in entries.items():
        if not name or len(name) > MAX_NAME_CHARS or len(bytes(raw)) > MAX_ENTRY_BYTES:
            raise ValueError(f"{name[:80]!r} has a name or a description of a length that no tensor has")
        entry = _entry.decode(raw)
        bits = BITS.get(entry.dtype)
        values = math.prod(entry.shape)
        begin, until = entry.data_offsets
        if bits is None or len(entry.shape) > MAX_RANK or values > MAX_VALUES:
            raise ValueError(f"{name[:80]!r} has the type {entry.dtype[:20]!r} and the shape {entry.shape[:20]}")
        if begin > until or (until - begin) * 8 != values * bits:
            raise ValueError(f"{name[:80]!r} has {values} values of {bits} bits in {until - begin} bytes")
        tensors[name] = Tensor(entry.dtype, entry.shape)
        spans.append((begin, until, name))
    return tensors, spans


def _names(header: bytes) -> tuple[int, int]:
    """Count the texts of a valid header on its first level (names of tensors) and below (of fields, types, metadata).

    A decoder keeps the last of two equal names; what it kept must be as many as stand there.
    """
    first = below = depth = 0
    for token in _TOKENS.finditer(header):
        mark = header[token.start()]
        if mark == 0x22:  # a quotation mark
            first, below = (first + 1, below) if depth == 1 else (first, below + 1)
        else:
            depth += 1 if mark in b"{[" else -1
    return first, below
