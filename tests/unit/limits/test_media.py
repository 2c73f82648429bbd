"""What models read of pictures, sounds and documents is reckoned by what these are, not by what they are called."""

from __future__ import annotations

import base64
import json
import struct
import zlib

import msgspec
import pytest

from tetrad.limits._estimate import Estimate
from tetrad.limits._media import (
    MOST_PAGES,
    PAGE_TOKENS,
    STEP_BYTES,
    base64_steps,
    finished,
    pages_of,
    tokens_of,
    tokens_steps,
)
from tetrad.serving import CHAT, IMAGE_TOKENS
from tetrad.serving.ports import ModelCall

PNG = b"\x89PNG\r\n\x1a\n" + bytes(9000)


def encoded(data: bytes) -> bytes:
    return base64.b64encode(data)


def pdf(*objects: bytes) -> bytes:
    return b"%PDF-1.7\n" + b"\n".join(objects) + b"\n%%EOF"


def tree(count: int) -> bytes:
    return b"1 0 obj << /Type /Pages /Kids [2 0 R] /Count %d >> endobj" % count


def hidden(inner: bytes, stream_filter: bytes = b"/FlateDecode") -> bytes:
    data = zlib.compress(inner)
    return b"5 0 obj << /Type /ObjStm /N 1 /First 4 /Filter %s /Length %d >> stream\n%s\nendstream endobj" % (
        stream_filter, len(data), data,
    )  # fmt: skip


def wave(rate: int, size: int, *, second: int | None = None, before: bytes = b"") -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2 if second is None else second, 2, 16)
    return b"RIFF\0\0\0\0WAVE" + before + form + b"data" + bytes(size)


def of(*parts: dict[str, object]) -> int:
    body = json.dumps([{"role": "user", "content": list(parts)}], separators=(",", ":")).encode()
    return Estimate.of(ModelCall(CHAT, {"messages": msgspec.Raw(body)}, False), 0).input


@pytest.mark.parametrize(
    ("document", "pages"),
    [
        (pdf(tree(7)), 7),
        (pdf(b"1 0 obj << /Type/Page >> endobj", b"2 0 obj << /Type /Page >> endobj"), 2),
        (pdf(hidden(tree(300))), 300),
        (pdf(tree(1), hidden(b"x" * 5000), hidden(tree(40))), 40),
        (pdf(tree(1).replace(b"/Count 1", b"/#43ount 90")), 90),
        (pdf(tree(2), hidden(tree(9), b"/LZWDecode").replace(b"x\x9c", b"??")), None),
        (pdf(hidden(b" " * 9_000_000 + tree(900))), None),
        (pdf(b"1 0 obj << /Type /ObjStm >>"), None),
        (pdf(b"nothing"), None),
    ],
)
def test_the_pages_of_a_document_are_counted_where_it_says_them_and_never_guessed(
    document: bytes, pages: int | None
) -> None:
    assert pages_of(document) == pages


def test_a_small_document_of_many_pages_is_reckoned_by_its_pages() -> None:
    document = pdf(hidden(tree(300)))
    data = f"data:application/pdf;base64,{encoded(document).decode()}"
    assert len(data) < 1000
    assert of({"type": "file", "file": {"file_data": data}}) >= 300 * PAGE_TOKENS


def test_a_document_that_hides_its_pages_is_reckoned_by_its_bytes() -> None:
    document = pdf(bytes(range(256)) * 100)
    data = f"data:application/pdf;base64,{encoded(document).decode()}"
    assert of({"type": "file", "file": {"file_data": data}}) >= len(data) // 3


def test_a_document_has_no_more_pages_than_anybody_reads() -> None:
    assert tokens_of(encoded(pdf(tree(999_999_999)))) == MOST_PAGES * PAGE_TOKENS


def test_a_document_or_sound_is_no_picture_because_something_near_it_says_so() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": encoded(pdf(tree(50), bytes(9000))).decode()}
    assert of({"type": "image", "source": source}) >= 50 * PAGE_TOKENS
    source["data"] = encoded(b"ID3" + bytes(1_000_000)).decode()
    assert of({"type": "image", "source": source}) > 10 * IMAGE_TOKENS


def test_pictures_cost_the_same_however_large() -> None:
    for picture in (PNG, PNG * 100, b"\xff\xd8\xff\xe0" + bytes(9000), b"RIFF\0\0\0\0WEBP" + bytes(9000)):
        assert tokens_of(encoded(picture)) == IMAGE_TOKENS


def test_the_slashes_of_a_picture_may_be_escaped() -> None:
    assert tokens_of(encoded(b"\xff\xd8\xff\xe0" + b"\xff" * 9000).replace(b"/", b"\\/")) == IMAGE_TOKENS


def test_a_wave_is_reckoned_by_the_seconds_that_its_head_says() -> None:
    assert tokens_of(encoded(wave(16_000, 320_000))) in range(320, 360)
    assert tokens_of(encoded(wave(16_000, 320_000, before=b"JUNK\4\0\0\0abcd"))) in range(320, 360)
    slow = tokens_of(encoded(wave(100, 20_000)))
    assert slow is not None
    assert slow >= 3200
    assert tokens_of(encoded(wave(100, 20_000, second=10**9))) == slow
    assert tokens_of(encoded(wave(0, 20_000))) is None


def test_what_is_of_no_known_kind_is_reckoned_as_text() -> None:
    text = encoded(b"A letter, as a file. " * 1000).decode()
    assert tokens_of(text.encode()) is None
    assert of({"type": "file", "file": {"file_data": f"data:text/plain;base64,{text}"}}) >= len(text) // 3
    assert tokens_of(b"A") is None


def test_what_looks_like_objects_within_a_stream_is_no_stream_of_its_own() -> None:
    packed = zlib.compress(b"1 0 << /Type /Page >>")
    inside = b"/Type /ObjStm /N 9 >> stream\nno deflate"
    assert pages_of(pdf(b"<< /Type /ObjStm >> stream\n" + packed + inside + b"\nendstream endobj /Size 77")) == 1


def test_a_stream_that_inflates_beyond_all_measure_hides_its_pages() -> None:
    packed = zlib.compress(bytes(4 * 2**20))
    assert pages_of(pdf(b"<< /Type /ObjStm >> stream\n" + packed + b"\nendstream endobj /Size 77")) == 77


def test_what_is_encrypted_has_at_most_as_many_pages_as_objects() -> None:
    """The lengths of streams, and how many objects there are, are told in the clear."""
    secret = hidden(tree(300)).replace(b"x\x9c", b"??")
    trailer = b"9 0 obj << /Type /XRef /Size 412 /Encrypt 7 0 R >> stream"
    assert pages_of(pdf(secret, trailer)) == 412
    assert pages_of(pdf(secret, trailer, b"8 0 obj << /Type /XRef /Size 20 >> stream")) == 412, "the most counts"
    assert (
        pages_of(pdf(b"1 0 obj << /Linearized 1 /L 90 /H [1 2] /O 3 /E 4 /N 37 /T 5 >> endobj", secret, trailer)) == 37
    )
    assert pages_of(pdf(tree(500), secret, trailer)) == 500, "what it says all the same counts"
    assert pages_of(pdf(tree(5), trailer)) == 5, "pages that are told are not guessed"


@pytest.mark.parametrize("shift", [0, 3, 70, STEP_BYTES - 4])
def test_pages_are_counted_once_wherever_the_steps_end(shift: int) -> None:
    page = b"1 0 obj << /Type /Page >> endobj"
    between = bytes(STEP_BYTES - len(page))
    document = b"%PDF-1.7\n" + bytes(shift) + (page + between) * 5 + page
    assert pages_of(document) == 6
    assert tokens_of(encoded(document)) == 6 * PAGE_TOKENS


def test_a_long_document_is_reckoned_in_many_small_steps_that_find_the_same() -> None:
    document = pdf(tree(12), bytes(range(256)) * 8000)
    assert sum(1 for _ in tokens_steps(encoded(document))) > 2 * len(document) // STEP_BYTES
    assert tokens_of(encoded(document)) == 12 * PAGE_TOKENS


@pytest.mark.parametrize("wrong", [b"!", b"=", b'"', b" "])
def test_what_is_not_all_of_base64_is_text(wrong: bytes) -> None:
    good = encoded(PNG * 20)
    for place in (10, STEP_BYTES // 2, len(good) - 5):
        data = good[:place] + wrong + good[place + 1 :]
        assert not finished(base64_steps(data, 0, len(data)))
    for whole in (good, encoded(PNG + b"x"), encoded(PNG + b"xy")):
        assert finished(base64_steps(b'"' + whole + b'"', 1, len(whole) + 1))
