"""Bodies of `multipart/form-data` (RFC 7578): looked at where their small fields are, passed on byte for byte.

A file is never copied: the model's new name is spliced in between the bytes before and behind the old one.
"""

from __future__ import annotations

import re

import msgspec

from tetrad.serving._body import Fields
from tetrad.serving.errors import RequestRefused

MAX_PARTS = 256
MAX_PART_HEAD = 8192
MAX_TEXT = 1024 * 1024
"""Largest field that is no file, in bytes."""
_BOUNDARY = re.compile(
    rb"multipart/form-data\s*(?:;[^;]*)*?;\s*boundary=(?:\"([^\"]*)\"|([^\s;\"]+))\s*(?:;.*)?", re.IGNORECASE
)
_BOUNDARY_CHARS = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, section 5.1.1
_PARAMETER = re.compile(rb";[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"([^\"\\]*)\"|([^\s;\"\\]+))[ \t]*")
_ENCODINGS = frozenset((b"7bit", b"8bit", b"binary"))
_FLAGS = {"true": b"true", "1": b"true", "false": b"false", "0": b"false", "": b"false"}


class FormFile(msgspec.Struct, frozen=True):
    """A file of a form: under which field, its name, its size in bytes."""

    field: str
    name: str
    bytes: int


class Form(msgspec.Struct, frozen=True, gc=False):
    """A form as it came, and where in it the model's name stands."""

    body: bytes
    boundary: bytes
    start: int
    end: int
    files: tuple[FormFile, ...] = ()

    @property
    def content_type(self) -> bytes:
        """The header that tells an upstream how to read it."""
        return b'multipart/form-data; boundary="' + self.boundary + b'"'

    def asking(self, model: str) -> bytes:
        """Return the form's bytes with another model's name in it."""
        return b"".join((memoryview(self.body)[: self.start], model.encode(), memoryview(self.body)[self.end :]))


def read_form(body: bytes, content_type: bytes, default: str = "") -> tuple[Form, Fields]:
    """Return a form and its text fields as JSON strings, `stream` as a flag; files are left where they are.

    A form that names no model is read as if it named the `default`, in which no line may end.

    Refuses what two readers could read two ways, since the upstream must not find another model in it than we did:
    a second `model`, odd quoting, folded headers, no end; and what is no form at all.
    """
    boundary = _boundary(content_type)
    mark = b"--" + boundary
    if not body.startswith(mark):
        raise _malformed("it does not begin with its boundary")
    fields: Fields = {}
    files: list[FormFile] = []
    model: tuple[int, int] | None = None
    at, parts = len(mark), 0
    while not body.startswith(b"--", at):
        parts += 1
        if parts > MAX_PARTS:
            raise RequestRefused(
                f"the form has more than {MAX_PARTS} parts", hint="send fewer", code="too_many_parts", status=413
            )
        start, name, filename = _part(body, at)
        end = body.find(b"\r\n" + mark, start)
        if end < 0:
            raise _malformed("its last part has no end")
        at = end + 2 + len(mark)
        if filename is not None:
            if name in ("model", "stream"):  # an empty name of a file is a text's to some readers
                raise RequestRefused(f"the field {name!r} is a file", param=name, code="bad_field")
            files.append(FormFile(name, filename[:200], end - start))
            continue
        if name in fields and name in ("model", "stream"):
            raise RequestRefused(f"the field {name!r} is there twice", param=name, code="bad_field")
        if name == "model":
            model = start, end
        fields.setdefault(name, _value(name, body, start, end))
    if model is None and default:
        part = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n' % default.encode()
        return read_form(mark + part + body, content_type)
    if model is None:
        raise RequestRefused("the field 'model' is missing", param="model", code="missing_field")
    return Form(body, boundary, *model, tuple(files)), fields


def described(form: Form, fields: Fields) -> bytes:
    """Return what a form says as JSON for the record: its texts, and of its files the names and sizes."""
    shown: dict[str, object] = {name: value for name, value in fields.items() if name != "model"}
    shown["files"] = form.files
    return msgspec.json.encode(shown)


def _part(body: bytes, at: int) -> tuple[int, str, str | None]:
    """Return where a part's value begins, its field's name, and its file's name where it is a file."""
    if not body.startswith(b"\r\n", at):
        raise _malformed("a boundary is not followed by a line's end")
    if body.startswith(b"\r\n\r\n", at):
        raise _malformed("a part has no Content-Disposition")
    stop = body.find(b"\r\n\r\n", at, at + MAX_PART_HEAD)
    if stop < 0:
        raise _malformed(f"the headers of a part have no end within {MAX_PART_HEAD:,} bytes")
    headers: dict[bytes, bytes] = {}
    for line in body[at + 2 : stop].split(b"\r\n"):
        title, colon, text = line.partition(b":")
        title = title.lower()
        if not colon or title != title.strip() or title in headers or b"\n" in line or b"\r" in line:
            raise _malformed("a header of a part is folded, broken or there twice")
        headers[title] = text.strip()
    if headers.get(b"content-transfer-encoding", b"binary").lower() not in _ENCODINGS:
        raise _malformed("a part is encoded for the mail")
    found = _parameters(headers.get(b"content-disposition", b""))
    if "name" not in found:
        raise _malformed("a part has no name")
    return stop + 4, found["name"], found.get("filename", "" if "filename*" in found else None)


def _parameters(disposition: bytes) -> dict[str, str]:
    """Read `form-data; name="…"; filename="…"`; what some reader might read another way is refused."""
    kind = disposition[:9]
    if kind.lower() != b"form-data":
        raise _malformed("a part has no Content-Disposition of form-data")
    found: dict[str, str] = {}
    at = len(kind)
    while at < len(disposition):
        match = _PARAMETER.match(disposition, at)
        name = match[1].decode("latin-1").lower() if match else ""
        if match is None or name in found or name == "name*":
            raise _malformed("a Content-Disposition can be read two ways")
        found[name] = (match[2] if match[2] is not None else match[3]).decode("utf-8", "replace")
        at = match.end()
    return found


def _value(name: str, body: bytes, start: int, end: int) -> msgspec.Raw:
    if end - start > MAX_TEXT:
        raise RequestRefused(
            f"the field {name[:80]!r} has {end - start:,} bytes; at most {MAX_TEXT:,} are read",
            param=name[:80],
            hint="send it as a file, with a file name",
            code="body_too_large",
            status=413,
        )
    try:
        text = body[start:end].decode()
    except UnicodeDecodeError:
        raise RequestRefused(f"the field {name[:80]!r} is not UTF-8", param=name[:80], code="bad_field") from None
    if name == "stream":
        flag = _FLAGS.get(text.strip().lower())
        if flag is None:
            raise RequestRefused("the field 'stream' must be true or false", param="stream", code="bad_field")
        return msgspec.Raw(flag)
    return msgspec.Raw(msgspec.json.encode(text))


def _boundary(content_type: bytes) -> bytes:
    match = _BOUNDARY.fullmatch(content_type.strip()) if len(content_type) <= 512 else None
    boundary = (match[1] if match[1] is not None else match[2]) if match else b""
    if not boundary or not _BOUNDARY_CHARS.fullmatch(boundary):
        raise RequestRefused(
            "the request is no form",
            hint="send multipart/form-data with its boundary in Content-Type",
            code="bad_content_type",
            status=415,
        )
    return boundary


def _malformed(why: str) -> RequestRefused:
    return RequestRefused(f"the form is malformed: {why}", code="malformed_form")
