"""GGUF headers: right ones are understood, hostile ones are refused quickly."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.kernel import digest_bytes
from tetrad.kit.gguf import BadGguf, GgufHeader, read_gguf


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def strings(values: list[str]) -> bytes:
    return struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values))


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


PAIRS = [
    pair("general.architecture", 8, text("llama")),
    pair("general.name", 8, text("Tiny")),
    pair("general.license", 8, text("mit")),
    pair("llama.context_length", 4, struct.pack("<I", 1024)),
    pair("tokenizer.ggml.tokens", 9, strings([f"t{n}" for n in range(100)])),
    pair("tokenizer.ggml.add_bos_token", 7, b"\1"),
    pair("tokenizer.chat_template", 8, text("{{ messages }}")),
    pair("x.rates", 9, struct.pack("<IQ3f", 6, 3, 0.5, 1, 2)),
]
TENSORS = [tensor("a", (32, 4), 3, 0), tensor("b", (8,), 0, 96)]


def gguf(
    pairs: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    data: bytes = b"\0" * 4096,
) -> bytes:
    pairs, tensors = PAIRS if pairs is None else pairs, TENSORS if tensors is None else tensors
    numbers = counts or (len(tensors), len(pairs))
    return b"GGUF" + struct.pack("<IQQ", version, *numbers) + b"".join(pairs) + b"".join(tensors) + data


def read(tmp_path: Path, data: bytes) -> GgufHeader:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return read_gguf(path)


def test_a_header_is_understood(tmp_path: Path) -> None:
    header = read(tmp_path, gguf())
    assert (header.architecture, header.name, header.licence) == ("llama", "Tiny", "mit")
    assert (header.context_length, header.parameters, header.quantisation, header.tensors) == (1024, 136, "Q4_1", 2)
    assert header.chat_template == digest_bytes(b"{{ messages }}")
    assert header.lengths == {"tokenizer.ggml.tokens": 100}
    assert header.metadata["x.rates"] == [0.5, 1, 2]
    assert header.metadata["tokenizer.ggml.add_bos_token"] is True


def test_the_tokenizers_digest_depends_on_its_content_and_not_on_the_order_of_keys(tmp_path: Path) -> None:
    header = read(tmp_path, gguf())
    assert read(tmp_path, gguf(PAIRS[::-1])).tokenizer == header.tokenizer
    other = pair("tokenizer.ggml.tokens", 9, strings([f"u{n}" for n in range(100)]))
    assert read(tmp_path, gguf([*PAIRS[:4], other, *PAIRS[5:]])).tokenizer != header.tokenizer
    assert read(tmp_path, gguf(PAIRS[:4])).tokenizer is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no GGUF magic"),
        (b"PK\3\4" + b"\0" * 100, "no GGUF magic"),
        (gguf(version=1), "has the GGUF version 1"),
        (gguf(version=3 << 24), "big-endian"),
        (gguf(counts=(1 << 40, 1)), "claims 1099511627776 tensors"),
        (gguf(counts=(0, 1 << 63)), "claims 0 tensors and 9223372036854775808 keys"),
        (gguf([struct.pack("<Q", 1 << 60)]), "claims a text of"),
        (gguf([pair("a.b", 9, struct.pack("<IQ", 4, 1 << 50))]), "claims an array of"),
        (gguf([pair("a.b", 9, struct.pack("<IQ", 9, 1) * 10)]), "nests arrays too deeply"),
        (gguf([pair("a.b", 99, b"")]), "unknown type 99"),
        (gguf([PAIRS[0], PAIRS[0]]), "twice"),
        (gguf([pair("general.alignment", 4, struct.pack("<I", 0))]), "has the alignment 0"),
        (gguf(tensors=[tensor("a", (1 << 40, 1 << 40), 0, 0)]), "lies outside"),
        (gguf(tensors=[tensor("a", (1,) * 9, 0, 0)]), "9 dimensions"),
        (gguf(data=b""), "is cut off"),
        (gguf()[:60], "ends in the middle"),
    ],
)
def test_a_hostile_header_is_refused_with_the_reason(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(BadGguf, match=why):
        read(tmp_path, data)


def test_a_claim_of_gigabytes_takes_no_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    with pytest.raises(BadGguf):
        read(tmp_path, gguf([pair("a.b", 9, struct.pack("<IQ", 10, 15_000_000))]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadGguf, match="No such file"):
        read_gguf(tmp_path / "ghost.gguf")


@given(st.integers(0, 4000), st.integers(0, 255), st.integers(24, 5000))
def test_any_damage_is_read_or_refused_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, length: int
) -> None:
    data = bytearray(gguf())
    data[at % len(data)] = byte
    path = tmp_path_factory.getbasetemp() / "fuzzed.gguf"
    path.write_bytes(data[:length])
    with contextlib.suppress(BadGguf):
        assert read_gguf(path).file_bytes == len(data[:length])


def test_the_bundled_models_header_is_what_its_card_says(chat_weights: Path) -> None:
    header = read_gguf(chat_weights)
    assert (header.architecture, header.quantisation, header.licence) == ("llama", "Q4_1", "apache-2.0")
    assert (header.parameters, header.context_length) == (134_515_008, 8192)
    assert header.lengths["tokenizer.ggml.tokens"] == 49_152
