"""Read the header of GGUF files (the format of llama.cpp; specification: ggml, docs/gguf.md, versions 2 and 3).

The file may come from a stranger: every count and length is checked against a limit and against the size of the file
before anything is read, and no long array is kept.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tetrad.kernel import Digest, InvalidInput, digest_bytes

MAGIC = b"GGUF"
MAX_HEADER_BYTES = 256 * 2**20
MAX_KEYS = 65_536
MAX_TENSORS = 1_000_000
MAX_KEY_BYTES = 65_535
MAX_ARRAY = 16_000_000
MAX_DEPTH = 4
_KEEP = 64  # longer arrays are counted and hashed, not kept
_CHAT_TEMPLATE = "tokenizer.chat_template"

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
_BOOL, _STRING, _ARRAY = 7, 8, 9

# name, values per block, bytes per block
_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}


class BadGguf(InvalidInput):
    """The file is no GGUF file, is damaged, or is cut off."""

    code = "bad_gguf"


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself.

    `metadata` keeps scalars, texts and short arrays; `lengths` tells the length of the arrays that were left out.
    `quantisation` is the type of most of the weights' values; `tokenizer` and `chat_template` are digests: of the raw
    bytes of all `tokenizer.ggml.*` entries in the order of their keys, and of the template's text.
    """

    version: int
    metadata: dict[str, Any] = field(repr=False)
    lengths: dict[str, int]
    tensors: int
    parameters: int
    quantisation: str
    file_bytes: int
    tokenizer: Digest | None
    chat_template: Digest | None

    def text(self, key: str) -> str:
        """Return a text of the metadata, empty where there is none."""
        value = self.metadata.get(key, "")
        return value if isinstance(value, str) else ""

    @property
    def architecture(self) -> str:
        """Such as `llama`."""
        return self.text("general.architecture")

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.text("general.name")

    @property
    def licence(self) -> str:
        """An SPDX-like name, such as `apache-2.0`."""
        return self.text("general.license")

    @property
    def context_length(self) -> int:
        """The context that it was trained with, in tokens; 0 where it does not say."""
        value = self.metadata.get(f"{self.architecture}.context_length", 0)
        return value if isinstance(value, int) else 0


def read_gguf(path: Path) -> GgufHeader:
    """Read the header, or raise `BadGguf`. Never reads the weights; notices when they are cut off."""
    try:
        with path.open("rb") as file:
            return read_gguf_from(file, os.fstat(file.fileno()).st_size, str(path))
    except OSError as error:
        raise BadGguf(f"{str(path)!r} cannot be read: {error.strerror}", hint="check the file") from None


def read_gguf_from(file: BinaryIO, size: int, name: str) -> GgufHeader:
    """Read the header of an open file of `size` bytes, or raise `BadGguf`; `name` is for errors."""
    return _Reader(file, size, name).header()


class _Reader:
    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self._file, self._size, self._name = file, size, name
        self._left = min(size, MAX_HEADER_BYTES)
        self._watch: Any = None

    def header(self) -> GgufHeader:
        if self._size < 24 or self._take(4) != MAGIC:
            raise self._bad("has no GGUF magic")
        version = self._scalar(4)
        if version not in (2, 3):
            why = "is big-endian" if version in (2 << 24, 3 << 24) else f"has the GGUF version {version}"
            raise self._bad(f"{why}; versions 2 and 3, little-endian, are read")
        tensors, keys = self._scalar(10), self._scalar(10)
        if tensors > MAX_TENSORS or keys > MAX_KEYS:
            raise self._bad(f"claims {tensors} tensors and {keys} keys")
        metadata, lengths, tokenizer = self._metadata(keys)
        parameters, quantisation = self._tensors(tensors, metadata)
        template = metadata.get(_CHAT_TEMPLATE)
        return GgufHeader(
            version=version,
            metadata=metadata,
            lengths=lengths,
            tensors=tensors,
            parameters=parameters,
            quantisation=quantisation,
            file_bytes=self._size,
            tokenizer=tokenizer,
            chat_template=digest_bytes(template.encode()) if isinstance(template, str) else None,
        )

    def _metadata(self, keys: int) -> tuple[dict[str, Any], dict[str, int], Digest | None]:
        metadata: dict[str, Any] = {}
        lengths: dict[str, int] = {}
        tokens: dict[str, bytes] = {}
        for _ in range(keys):
            key = self._text(MAX_KEY_BYTES)
            if key in metadata or key in lengths:
                raise self._bad(f"has the key {key[:80]!r} twice")
            self._watch = hashlib.sha256() if key.startswith("tokenizer.ggml.") else None
            value = self._value(self._scalar(4), 0)
            if self._watch is not None:
                tokens[key] = self._watch.digest()
                self._watch = None
            if isinstance(value, _Long):
                lengths[key] = value.length
            else:
                metadata[key] = value
        if not tokens:
            return metadata, lengths, None
        whole = hashlib.sha256()
        for key in sorted(tokens):
            whole.update(key.encode("utf-8", "surrogatepass") + b"\0" + tokens[key])
        return metadata, lengths, Digest("sha256:" + whole.hexdigest())

    def _value(self, kind: int, depth: int) -> Any:
        if kind == _STRING:
            return self._text(self._left)
        if kind == _ARRAY:
            return self._array(depth)
        if kind == _BOOL:
            return self._scalar(kind) != 0
        if kind not in _SCALARS:
            raise self._bad(f"has a value of the unknown type {kind}")
        return self._scalar(kind)

    def _array(self, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            raise self._bad("nests arrays too deeply")
        kind, length = self._scalar(4), self._scalar(10)
        if length > MAX_ARRAY:
            raise self._bad(f"claims an array of {length} values")
        if kind in _SCALARS and length > _KEEP:
            self._skip(struct.calcsize(_SCALARS[kind]) * length)
            return _Long(length)
        kept = []
        for index in range(length):
            value = self._value(kind, depth + 1)
            if index < _KEEP:
                kept.append(value)
        return kept if length <= _KEEP else _Long(length)

    def _tensors(self, count: int, metadata: dict[str, Any]) -> tuple[int, str]:
        parameters, end = 0, 0
        by_type: dict[str, int] = {}
        for _ in range(count):
            name = self._text(MAX_KEY_BYTES)
            rank = self._scalar(4)
            if rank > 8:
                raise self._bad(f"has a tensor of {rank} dimensions")
            values = math.prod(self._scalar(10) for _ in range(rank))
            kind, offset = self._scalar(4), self._scalar(10)
            if values > 2**48 or offset > self._size:
                raise self._bad(f"claims that tensor {name[:80]!r} lies outside of it")
            label, block, size = _TYPES.get(kind, (f"type-{kind}", 1, 0))
            parameters += values
            by_type[label] = by_type.get(label, 0) + values
            end = max(end, offset + -(-values // block) * size)
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 2**20:
            raise self._bad(f"has the alignment {alignment!r}")
        data_from = -(-self._file.tell() // alignment) * alignment
        if data_from + end > self._size and count:
            raise self._bad(f"is cut off: it needs {data_from + end} bytes and has {self._size}")
        return parameters, max(by_type, key=lambda label: by_type[label]) if by_type else ""

    def _scalar(self, kind: int) -> Any:
        form = _SCALARS[kind]
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _text(self, most: int) -> str:
        length = self._scalar(10)
        if length > min(most, self._left):
            raise self._bad(f"claims a text of {length} bytes")
        return self._take(length).decode("utf-8", "replace")

    def _take(self, count: int) -> bytes:
        if count > self._left:
            raise self._bad(
                "ends in the middle of its header" if self._size < MAX_HEADER_BYTES else "has a huge header"
            )
        self._left -= count
        data = self._file.read(count)
        if len(data) != count:
            raise self._bad("ends in the middle of its header")
        if self._watch is not None:
            self._watch.update(data)
        return data

    def _skip(self, count: int) -> None:
        while count:
            step = min(count, 1 << 20)
            self._take(step)
            count -= step

    def _bad(self, what: str) -> BadGguf:
        return BadGguf(f"{self._name!r} {what}", hint="fetch the file again, or choose another model")


@dataclass(frozen=True, slots=True)
class _Long:
    length: int
