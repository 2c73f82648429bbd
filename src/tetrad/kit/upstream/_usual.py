"""Answers of the usual form, seen at a glance: 200, a length, and all of it in one piece.

The parser calls us for every header, and of an answer of a model two or three out of twenty matter. What is not
exactly of this form is none of ours: the parser reads it from its first byte, and says what is wrong with it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = rb"[!#$%&'*+.^_`|~0-9a-z-]"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"
_HEAD = re.compile(rb"http/1\.1 200 " + _TEXT + rb"(?:\r\n" + _NAME + rb"++:" + _TEXT + rb")*+\r\n\r\n")
_TOLD = re.compile(
    rb"\r\n(?:content-length:[\t ]*([0-9]{1,12})[\t ]*(?=\r)"
    rb"|(content-length|transfer-encoding|upgrade|connection(?!: keep-alive\r))"
    rb"|(retry-after|x-should-retry|content-encoding))"
)
"""A length; what frames the body otherwise or ends the connection; what asks for a longer look.

Expressions, since each question to bytes costs more than its answer: `in` alone makes and clears an exception.
"""
_LINE = re.compile(rb"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)")
_START, _END = b"HTTP/1.1 200 ", b"\r\n\r\n"


class Glimpse(NamedTuple):
    """A head in lower case, and whether it says anything of encodings or of when to ask again."""

    head: bytes
    noted: bool


def whole_answer(data: bytes) -> Glimpse | None:
    """Return the head of an answer that is there as a whole; None for anything else.

    Its line breaks and names are checked as the parser checks them; one length, and nothing that frames the body
    otherwise, or ends the connection.
    """
    if not data.startswith(_START):
        return None
    end = data.find(_END) + len(_END)
    head = data[:end].lower()
    if _HEAD.fullmatch(head) is None:
        return None
    told = _TOLD.findall(head)
    lengths = [length for length, odd, _ in told if length or odd]  # an odd one counts as a second length, of nothing
    if len(lengths) != 1 or not lengths[0] or int(lengths[0]) != len(data) - end:
        return None
    return Glimpse(head, len(told) > 1)


def headers_of(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers of a head that was found to be of the usual form, their names in lower case."""
    return [(name.lower(), value) for name, value in _LINE.findall(head)]
