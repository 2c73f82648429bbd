"""Forms with a file (RFC 7578), read as they come: fields into memory, the file into a sink, both bounded."""

from __future__ import annotations

import re
from typing import BinaryIO

from tetrad.batches.errors import BadFile, FileTooLarge

MOST_FIELDS = 32
MOST_FIELD_BYTES = 64 * 1024
_MOST_HEAD_BYTES = 16 * 1024
_BOUNDARY = re.compile(r"multipart/form-data\s*;.*?boundary=(?:\"([^\"]{1,200})\"|([^\s;\"]{1,200}))", re.IGNORECASE)
_NAME = re.compile(rb"[;\s]name=\"((?:[^\"\\\r\n]|\\.)*)\"", re.IGNORECASE)
_FILENAME = re.compile(rb"[;\s]filename=\"((?:[^\"\\\r\n]|\\.)*)\"", re.IGNORECASE)


class FormReader:
    """Takes a body piece by piece. The part `file` goes into `sink`, everything else into `fields`."""

    def __init__(self, content_type: str, sink: BinaryIO, max_file_bytes: int) -> None:
        match = _BOUNDARY.match(content_type)
        if match is None:
            raise BadFile("the body is no form", hint="send multipart/form-data with the part `file`")
        self._delimiter = b"\r\n--" + (match[1] or match[2]).encode("latin-1", "replace")
        self._sink = sink
        self._most = max_file_bytes
        self._buffer = bytearray(b"\r\n")
        self._in_head = False
        self._part: str | None = None
        self._value = bytearray()
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.size = 0
        self.complete = False

    def feed(self, data: bytes) -> None:
        """Take the next piece; raises `BadFile` and `FileTooLarge`."""
        if self.complete:
            return  # an epilogue means nothing
        self._buffer += data
        while self._step():
            pass

    def finish(self) -> None:
        """Say that the body is over; raises `BadFile` where the form is not."""
        if not self.complete:
            raise BadFile("the form is cut short", hint="send the whole file again")
        if self.filename is None:
            raise BadFile("the form has no part `file`", hint="send the file as the part `file`, with a filename")

    def _step(self) -> bool:
        return self._head() if self._in_head else self._body()

    def _body(self) -> bool:
        buffer, delimiter = self._buffer, self._delimiter
        at = buffer.find(delimiter)
        if at < 0:
            keep = len(delimiter) + 1
            if len(buffer) > keep:
                self._take(bytes(buffer[:-keep]))
                del buffer[:-keep]
            return False
        if len(buffer) < at + len(delimiter) + 2:
            return False  # what follows tells the next part from the end
        self._take(bytes(buffer[:at]))
        mark = bytes(buffer[at + len(delimiter) : at + len(delimiter) + 2])
        del buffer[: at + len(delimiter)]
        self._close_part()
        if mark == b"--":
            self.complete = True
            return False
        if mark != b"\r\n":
            raise BadFile("the form's boundary is not followed by a line's end", hint="send multipart/form-data")
        self._in_head = True
        return True

    def _head(self) -> bool:
        at = self._buffer.find(b"\r\n\r\n")
        if at < 0 or at > _MOST_HEAD_BYTES:
            if len(self._buffer) > _MOST_HEAD_BYTES:
                raise BadFile("a part of the form has too long a head", hint="send multipart/form-data")
            return False
        head = bytes(self._buffer[:at])
        del self._buffer[: at + 4]
        line = next((each for each in head.split(b"\r\n") if each.lower().startswith(b"content-disposition:")), b"")
        name, filename = _NAME.search(line), _FILENAME.search(line)
        if name is None:
            raise BadFile("a part of the form has no name", hint="send multipart/form-data with the part `file`")
        self._part = _text(name[1])
        if self._part == "file":
            if self.filename is not None:
                raise BadFile("the form has two files", hint="send one")
            self.filename = _text(filename[1]) if filename else "file"
        elif self._part in self.fields:
            raise BadFile(f"the form has the part {self._part[:80]!r} twice", hint="send it once")
        elif len(self.fields) >= MOST_FIELDS:
            raise BadFile(f"the form has more than {MOST_FIELDS} parts", hint="send those that are known")
        self._in_head = False
        return True

    def _take(self, data: bytes) -> None:
        if not data or self._part is None:
            return  # a preamble means nothing
        if self._part == "file":
            self.size += len(data)
            if self.size > self._most:
                raise FileTooLarge(
                    f"the file has more than {self._most:,} bytes", hint="split it, or raise TETRAD_FILE_MAX_BYTES"
                )
            self._sink.write(data)
            return
        self._value += data
        if len(self._value) > MOST_FIELD_BYTES:
            raise BadFile(f"the part {self._part[:80]!r} is too large", hint="send the file as the part `file`")

    def _close_part(self) -> None:
        if self._part is not None and self._part != "file":
            self.fields[self._part] = self._value.decode("utf-8", "replace")
        self._part = None
        self._value.clear()


def _text(raw: bytes) -> str:
    """Read a quoted name: with backslashes (RFC 7578), or with the three escapes of browsers (WHATWG, HTML 4.10.22)."""
    plain = re.sub(rb"\\(.)", rb"\1", raw).replace(b"%22", b'"').replace(b"%0D", b"\r").replace(b"%0A", b"\n")
    return plain.decode("utf-8", "replace")
