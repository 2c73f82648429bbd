"""The templates that most prompts are: text, texts in it, and lists of texts. Filled in here, without minijinja.

A template engine costs a call of ours for every value it writes; these templates need none. Whatever is not exactly of
this shape, and every value that is not text, is left to minijinja, whose result this one is held equal to
(`tests/property/test_prompts.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import repeat
from typing import Final

from tetrad.prompts._mustache import BLOCK_CLOSE, BLOCK_OPEN, VARIABLE_CLOSE, VARIABLE_OPEN

_TAG: Final = re.compile(
    f"{VARIABLE_OPEN}([^{VARIABLE_CLOSE}]*){VARIABLE_CLOSE}|{BLOCK_OPEN}([^{BLOCK_CLOSE}]*){BLOCK_CLOSE}"
)
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LOOP: Final = re.compile(r"for _s0 in _each\(([A-Za-z][A-Za-z0-9_]*)\)")
_ITEM: Final = "_s0"
_MAX_PIECES: Final = 2_000
"""What has more pieces than this is left to minijinja, which counts its steps."""

Piece = tuple[str, str, tuple[str, ...], int]
"""(text before, variable, (), 0), or (text before, list, what stands around each of its items, from before it on, and
how many characters that is)."""


class PlainTemplate:
    """A template of texts and lists of texts."""

    __slots__ = ("_end", "_pieces")

    def __init__(self, pieces: list[Piece], end: str) -> None:
        self._pieces = pieces
        self._end = end

    def fill(self, values: Mapping[str, object], most: int) -> str | None:
        """Return the text; None where a value is no text or list of texts, or the text would pass `most` characters."""
        out: list[str] = []
        for before, name, between, chars in self._pieces:
            value = values[name]
            if not between:
                if type(value) is not str:
                    return None
                out += (before, value)
                continue
            if type(value) is not list:
                return None
            count = len(value)
            if count * len(between) + len(out) > _MAX_PIECES or count * chars > most:
                return None
            try:
                out += (before, "".join(map(str.join, value, repeat(between))))
            except TypeError:  # an item that is no text
                return None
        out.append(self._end)
        return None if sum(map(len, out)) > most else "".join(out)


def plain_template(source: str) -> PlainTemplate | None:
    """Read a translated Mustache template (`_mustache.Translation.source`); None where it is of another shape."""
    pieces: list[Piece] = []
    loop: tuple[str, str] | None = None
    between: list[str] = []
    at, before = 0, ""
    for tag in _TAG.finditer(source):
        text, at = source[at : tag.start()], tag.end()
        variable, block = tag.groups()
        if loop is None:
            before = text
            opened = _LOOP.fullmatch(block) if block is not None else None
            if opened is not None:
                loop, between = (before, opened[1]), []
            elif variable is not None and _NAME.fullmatch(variable):
                pieces.append((before, variable, (), 0))
            else:
                return None
            continue
        between.append(text)
        if block == "endfor":
            pieces.append((*loop, tuple(between), sum(map(len, between))))
            loop = None
        elif variable != _ITEM:
            return None
    if loop is not None or len(pieces) > _MAX_PIECES // 4:
        return None
    return PlainTemplate(pieces, source[at:])
