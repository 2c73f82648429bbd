"""Forms: what is read of them, what is passed on, and what could be read two ways."""

from __future__ import annotations

import json

import pytest

from support.fake_media import read_form as as_others_read
from tetrad.serving._form import MAX_PART_HEAD, MAX_PARTS, MAX_TEXT, described, read_form
from tetrad.serving.errors import RequestRefused

TYPE = b"multipart/form-data; boundary=xyz"
MODEL = b'Content-Disposition: form-data; name="model"'


def form(*parts: tuple[bytes, bytes], end: bytes = b"--xyz--\r\n") -> bytes:
    return b"".join(b"--xyz\r\n" + head + b"\r\n\r\n" + value + b"\r\n" for head, value in parts) + end


FILE = b'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\nContent-Type: audio/mpeg'


def test_the_model_is_renamed_and_not_another_byte() -> None:
    body = form((FILE, b"\x00\r\n--xy\r\nmodel"), (MODEL, b"app:bot"), (MODEL.replace(b"model", b"n"), b"1"))
    found, fields = read_form(body, TYPE)
    assert bytes(fields["model"]) == b'"app:bot"'
    assert found.asking("whisper-1") == body.replace(b"app:bot", b"whisper-1")
    assert json.loads(described(found, fields)) == {
        "n": "1",
        "files": [{"field": "file", "name": "a.mp3", "bytes": 14}],
    }
    assert as_others_read(found.content_type.decode(), found.asking("w"))["model"] == "w"


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data; boundary=xyz",
        b'Multipart/Form-Data; charset=utf-8; Boundary="xyz"',
        b"multipart/form-data;boundary=xyz; charset=utf-8",
    ],
)
def test_a_boundary_is_found_however_it_is_written(content_type: bytes) -> None:
    assert read_form(form((MODEL, b"m")), content_type)[0].boundary == b"xyz"


@pytest.mark.parametrize(
    "content_type",
    [b"", b"application/json", b"multipart/form-data", b"multipart/form-data; boundary=",
     b"multipart/mixed; boundary=x",
     b"multipart/form-data; boundary=" + b"x" * 71, b'multipart/form-data; boundary="a\r\nb"', b"x" * 10_000],
)  # fmt: skip
def test_no_boundary_no_form(content_type: bytes) -> None:
    with pytest.raises(RequestRefused) as refusal:
        read_form(form((MODEL, b"m")), content_type)
    assert refusal.value.status == 415


@pytest.mark.parametrize(
    "head",
    [
        b'Content-Disposition: form-data; name="x"; name="model"',
        b'Content-Disposition: form-data; x="; name=y"; name="x\\"',
        b'Content-Disposition: form-data; name="mo\\del"',
        b"Content-Disposition: form-data; name*=utf-8''model",
        b'Content-Disposition: form-data; name="x"\r\n ; filename="y"',
        b'Content-Disposition: form-data; name="x"\r\nContent-Disposition: form-data; name="model"',
        b'Content-Disposition: form-data; name="x"\nContent-Disposition: form-data; name="model"',
        b'Content-Disposition : form-data; name="x"',
        b'Content-Disposition: form-data; name="x"\r\nContent-Transfer-Encoding: base64',
        b'Content-Disposition: attachment; name="x"',
        b"Content-Disposition: form-data",
        b"Content-Type: text/plain",
        b"X: " + b"y" * MAX_PART_HEAD,
    ],
)
def test_a_part_that_can_be_read_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(RequestRefused) as refusal:
        read_form(form((head, b"gpt-expensive"), (MODEL, b"m")), TYPE)
    assert refusal.value.code == "malformed_form"


def test_a_second_model_is_refused() -> None:
    with pytest.raises(RequestRefused, match="twice"):
        read_form(form((MODEL, b"a"), (MODEL, b"b")), TYPE)


@pytest.mark.parametrize("end", [b"", b"--xyz", b"--xyz \r\n", b"--xyzzy\r\n"])
def test_a_form_without_end_is_refused(end: bytes) -> None:
    with pytest.raises(RequestRefused) as refusal:
        read_form(form((MODEL, b"m"), end=end), TYPE)
    assert refusal.value.code == "malformed_form"


def test_a_form_is_bounded() -> None:
    many = form(*[(b'Content-Disposition: form-data; name="x"', b"")] * (MAX_PARTS + 1))
    long = form((b'Content-Disposition: form-data; name="prompt"', b"x" * (MAX_TEXT + 1)))
    for body in (many, long):
        with pytest.raises(RequestRefused) as refusal:
            read_form(body, TYPE)
        assert refusal.value.status == 413


@pytest.mark.parametrize("filename", [b"m", b""])
def test_a_model_that_is_a_file_is_refused_beside_one_that_is_none(filename: bytes) -> None:
    file = MODEL + b'; filename="%b"' % filename, b"gpt-expensive"
    for parts in ((file,), ((MODEL, b"m"), file)):
        with pytest.raises(RequestRefused, match="is a file"):
            read_form(form(*parts), TYPE)


def test_stream_is_a_flag_and_nothing_else() -> None:
    stream = b'Content-Disposition: form-data; name="stream"'
    assert bytes(read_form(form((MODEL, b"m"), (stream, b"True")), TYPE)[1]["stream"]) == b"true"
    with pytest.raises(RequestRefused, match="true or false"):
        read_form(form((MODEL, b"m"), (stream, b"perhaps")), TYPE)
