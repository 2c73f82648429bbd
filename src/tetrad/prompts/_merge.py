"""Three-way merge of texts, line by line, that never drops what one side wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

OURS: Final = "<<<<<<<"
MIDDLE: Final = "======="
THEIRS: Final = ">>>>>>>"
MAX_LINES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged text; where `conflicts` is not 0 it holds both sides between markers."""

    text: str
    conflicts: int


def merge_texts(base: str, ours: str, theirs: str, *, ours_name: str = "ours", theirs_name: str = "theirs") -> Merged:
    """Merge two texts that were made from `base`, as diff3 does.

    What one side left alone is taken from the other; what both changed alike is taken once; what both changed otherwise
    stands in the result twice, between `<<<<<<<`, `=======` and `>>>>>>>`.
    """
    if ours == theirs or theirs == base:
        return Merged(ours, 0)
    if ours == base:
        return Merged(theirs, 0)
    root, mine, other = base.split("\n"), ours.split("\n"), theirs.split("\n")
    if max(len(root), len(mine), len(other)) > MAX_LINES:
        return Merged("\n".join(_marked(mine, other, ours_name, theirs_name)), 1)
    kept_mine, kept_other = _matches(root, mine), _matches(root, other)
    out: list[str] = []
    conflicts = at = at_mine = at_other = 0
    while True:
        stable = next((n for n in range(at, len(root)) if n in kept_mine and n in kept_other), len(root))
        to_mine, to_other = kept_mine.get(stable, len(mine)), kept_other.get(stable, len(other))
        was, now, then = root[at:stable], mine[at_mine:to_mine], other[at_other:to_other]
        if now == then or then == was:
            out += now
        elif now == was:
            out += then
        else:
            out += _marked(now, then, ours_name, theirs_name)
            conflicts += 1
        if stable == len(root):
            return Merged("\n".join(out), conflicts)
        out.append(root[stable])
        at, at_mine, at_other = stable + 1, to_mine + 1, to_other + 1


def _matches(base: Sequence[str], side: Sequence[str]) -> dict[int, int]:
    """Map lines of the base to where a side kept them."""
    blocks = SequenceMatcher(None, base, side, autojunk=False).get_matching_blocks()
    return {block.a + shift: block.b + shift for block in blocks for shift in range(block.size)}


def _marked(ours: Sequence[str], theirs: Sequence[str], ours_name: str, theirs_name: str) -> list[str]:
    return [f"{OURS} {ours_name}", *ours, MIDDLE, *theirs, f"{THEIRS} {theirs_name}"]
