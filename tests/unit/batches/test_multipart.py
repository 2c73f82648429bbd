"""Forms are read the same however they are cut, and bounded."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.batches import BadFile, FileTooLarge
from tetrad.batches._multipart import MOST_FIELD_BYTES, MOST_FIELDS, FormReader

KIND = 'multipart/form-data; boundary="a b"'


def part(head: str, body: bytes) -> bytes:
    return b"--a b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), body)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--a b--\r\n"


def read(body: bytes, size: int = 1 << 20, most: int = 1 << 20, kind: str = KIND) -> tuple[FormReader, bytes]:
    sink = io.BytesIO()
    reader = FormReader(kind, sink, most)
    for start in range(0, len(body), size):
        reader.feed(body[start : start + size])
    reader.finish()
    return reader, sink.getvalue()


@given(
    st.binary(max_size=200) | st.sampled_from([b"\r\n--a b", b"\r\n--a", b"\r\n", b"--a b--"]).map(lambda x: x[:-1]),
    st.integers(1, 40),
    st.booleans(),
)
def test_a_file_arrives_whole_however_it_is_cut(content: bytes, size: int, file_first: bool) -> None:
    parts = [part('name="file"; filename="x.bin"', content), part('name="purpose"', b"batch")]
    reader, found = read(form(*(parts if file_first else parts[::-1])), size)
    assert found == content
    assert (reader.fields, reader.filename, reader.size) == ({"purpose": "batch"}, "x.bin", len(content))


def test_what_comes_before_and_after_the_parts_means_nothing() -> None:
    reader, found = read(b"hello\r\n" + form(part('name="file"; filename="f"', b"x")) + b"bye")
    assert (found, reader.fields) == (b"x", {})


@pytest.mark.parametrize(
    "body",
    [
        form(part('name="purpose"', b"batch")),
        form(part('filename="x"', b"x")),
        form(part('name="file"; filename="x"', b"x"), part('name="file"; filename="y"', b"y")),
        form(part('name="a"', b"1"), part('name="a"', b"2")),
        form(*(part(f'name="a{n}"', b"1") for n in range(MOST_FIELDS + 1))),
        form(part('name="a"', b"1" * (MOST_FIELD_BYTES + 1))),
        form(part('name="file"; filename="x"', b"x"))[:-6],
        b"--a bx\r\n\r\n",
        b"--a b\r\n" + b"x" * 20_000,
        b"",
    ],
)
def test_a_form_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(BadFile):
        read(body)


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data", "multipart/form-data; boundary="])
def test_what_is_no_form_is_refused(kind: str) -> None:
    with pytest.raises(BadFile, match="no form"):
        read(b"", kind=kind)


def test_a_file_past_its_limit_is_refused_before_it_is_written_whole() -> None:
    sink = io.BytesIO()
    reader = FormReader(KIND, sink, 100)
    reader.feed(b'--a b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + b"x" * 60)
    with pytest.raises(FileTooLarge):
        reader.feed(b"x" * 60)
    assert len(sink.getvalue()) <= 100
