"""Answers of the usual form, seen at a glance: 200, a length, and all of it in one piece.

The parser calls us for every header, and of an answer of a model two or three out of twenty matter. What is not
exactly of this form is none of ours: the parser reads it from its first byte, and says what is wrong with it.
"""

from __future__ import annotations

import re

_TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"
_HEAD = re.compile(rb"HTTP/1\.1 200 " + _TEXT + rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]++:" + _TEXT + rb")*+\r\n\r\n")
_LINE = re.compile(rb"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)")
_LENGTH = b"\r\ncontent-length:"
_MOST_DIGITS = 12


def whole_answer(data: bytes) -> bytes:
    """Return the head of an answer that is there as a whole, in lower case; b"" for anything else.

    Its line breaks and names are checked as the parser checks them; one length, and nothing that frames the body
    otherwise, or ends the connection.
    """
    match = _HEAD.match(data)
    if match is None:
        return b""
    end = match.end()
    head = data[:end].lower()
    at = head.find(_LENGTH)
    if at < 0 or b"\r\ntransfer-encoding" in head or head.count(_LENGTH) != 1 or b"\r\nupgrade" in head:
        return b""
    if b"\r\nconnection" in head and (
        b"\r\nconnection: keep-alive\r\n" not in head or head.count(b"\r\nconnection") > 1
    ):
        return b""
    at += len(_LENGTH)
    digits = head[at : head.index(b"\r\n", at)].strip(b" \t")
    if len(digits) > _MOST_DIGITS or not digits.isdigit() or int(digits) != len(data) - end:
        return b""
    return head


def headers_of(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of a head that was found to be of the usual form, their names in lower case."""
    return [(name.lower(), value) for name, value in _LINE.findall(head)]
