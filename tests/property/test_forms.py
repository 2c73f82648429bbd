"""Forms of any content: what we read of them is what another reader reads, and files keep every byte."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from support.fake_media import read_form as as_others_read
from tetrad.serving._form import read_form
from tetrad.serving.errors import RequestRefused

names = st.text("abcxyz[]_", min_size=1, max_size=8).filter(lambda name: name not in ("files", "model", "stream"))
contents = st.binary(max_size=80) | st.sampled_from([b"\r\n--b", b"--b\r\n", b"\r\n\r\n", b"--b--"])


@given(st.lists(st.tuples(names, contents), max_size=5), st.text("m:/-1", min_size=1, max_size=9))
def test_whatever_the_files_hold_the_model_is_renamed_and_they_stay(files: list[tuple[str, bytes]], model: str) -> None:
    boundary = b"b" * 30
    parts = [
        b'Content-Disposition: form-data; name="%s"; filename="f"\r\nContent-Type: application/octet-stream\r\n\r\n%s'
        % (name.encode(), content)
        for name, content in files
    ]
    parts.append(b'Content-Disposition: form-data; name="model"\r\n\r\nlocal/m')
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + b"--%s--\r\n" % boundary
    found, fields = read_form(body, b"multipart/form-data; boundary=" + boundary)
    assert bytes(fields["model"]) == b'"local/m"'
    sent = as_others_read(found.content_type.decode(), found.asking(model))
    assert sent["model"] == model
    assert [(file.field, file.bytes) for file in found.files] == [(name, len(content)) for name, content in files]
    assert body.replace(b"\r\n\r\nlocal/m\r\n", b"\r\n\r\n" + model.encode() + b"\r\n") == found.asking(model)


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_a_form_or_refused(data: bytes) -> None:
    with contextlib.suppress(RequestRefused):
        read_form(b"--b\r\nContent-Disposition: form-data; " + data + b"\r\n--b--", b"multipart/form-data; boundary=b")
    with contextlib.suppress(RequestRefused):
        read_form(data, b"multipart/form-data; boundary=" + data[:20])
