"""What changed in a text, line by line and word by word; which items of two lists belong together."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal

import msgspec

MAX_LINE_CELLS = 4_000_000
MAX_WORD_CELLS = 1_000_000
_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")


class Words(msgspec.Struct, frozen=True):
    """A piece of text that both have, or that only the old or the new one has."""

    op: Literal["equal", "delete", "insert"]
    text: str


class Hunk(msgspec.Struct, frozen=True):
    """Lines that were replaced. `old_start` and `new_start` count from 1; one side may have no lines.

    `words` is the same change word by word: without its insertions it is the old text, without its deletions the new
    one. It is empty where a side has no lines, or where both are too long to be compared so closely.
    """

    old_start: int
    new_start: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    words: tuple[Words, ...] = ()


def diff_text(old: str, new: str) -> tuple[Hunk, ...]:
    """Return what to replace in `old`, line by line, to get `new`; nothing where they are equal.

    The time is bounded: texts that differ in too many lines are one hunk.
    """
    if old == new:
        return ()
    return tuple(_hunk(start, before, other, after) for start, before, other, after in _lines(old, new))


def _lines(old: str, new: str) -> Iterator[tuple[int, list[str], int, list[str]]]:
    before, after = old.split("\n"), new.split("\n")
    for i1, i2, j1, j2 in changed_blocks(before, after, cells=MAX_LINE_CELLS):
        yield i1, before[i1:i2], j1, after[j1:j2]


def _hunk(old_start: int, old: list[str], new_start: int, new: list[str]) -> Hunk:
    words = diff_words("\n".join(old), "\n".join(new)) if old and new else ()
    return Hunk(old_start + 1, new_start + 1, tuple(old), tuple(new), words)


def diff_words(old: str, new: str) -> tuple[Words, ...]:
    """Return both texts as one sequence of words that stay, go or come; nothing where they are too long for it."""
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    if len(before) * len(after) > MAX_WORD_CELLS:
        return ()
    found: list[Words] = []
    at = 0
    for i1, i2, j1, j2 in changed_blocks(before, after, cells=MAX_WORD_CELLS):
        if i1 > at:
            found.append(Words("equal", "".join(before[at:i1])))
        if i2 > i1:
            found.append(Words("delete", "".join(before[i1:i2])))
        if j2 > j1:
            found.append(Words("insert", "".join(after[j1:j2])))
        at = i2
    if at < len(before):
        found.append(Words("equal", "".join(before[at:])))
    return tuple(found)


def changed_blocks(
    old: Sequence[Hashable], new: Sequence[Hashable], *, cells: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield (i1, i2, j1, j2) where `old[i1:i2]` became `new[j1:j2]`, from the front to the end.

    Where what differs has more than `cells` pairs of items, all of it is one block.
    """
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    before, after = old[head : len(old) - tail], new[head : len(new) - tail]
    if not before and not after:
        return
    if len(before) * len(after) > cells:
        yield head, head + len(before), head, head + len(after)
        return
    for op, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if op != "equal":
            yield head + i1, head + i2, head + j1, head + j2
