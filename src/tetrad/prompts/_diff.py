"""Two prompts told apart: message by message, line by line, and what else they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Final, Literal

from tetrad.prompts._chain import ChainSpec
from tetrad.prompts._floor import Floor
from tetrad.prompts._model import PromptMessage, PromptSpec

MAX_LINES: Final = 4_000
Change = Literal["same", "changed", "added", "removed"]


@dataclass(frozen=True, slots=True)
class LineChange:
    """A line: `mark` is a space, `-` (old only) or `+` (new only)."""

    mark: Literal[" ", "-", "+"]
    text: str


@dataclass(frozen=True, slots=True)
class MessageChange:
    """A message of one prompt or of both, by its place (from 0) in each."""

    change: Change
    role: str
    old: int | None
    new: int | None
    lines: tuple[LineChange, ...]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """Anything but a message: a variable, a tool, a parameter, by its path; an absent value is None."""

    path: str
    change: Change
    old: Any = None
    new: Any = None


@dataclass(frozen=True, slots=True)
class PromptDiff:
    """What changed from one prompt to another, and what that makes of the version number."""

    messages: tuple[MessageChange, ...]
    fields: tuple[FieldChange, ...]
    floor: Floor

    @property
    def same(self) -> bool:
        """Nothing changed."""
        return not self.fields and all(message.change == "same" for message in self.messages)


def diff_prompts(old: PromptSpec | ChainSpec, new: PromptSpec | ChainSpec, floor: Floor) -> PromptDiff:
    """Tell two prompts apart as they were written; `floor` is that of the composed ones."""
    was = old.messages if isinstance(old, PromptSpec) else ()
    now = new.messages if isinstance(new, PromptSpec) else ()
    return PromptDiff(tuple(_messages(was, now)), tuple(_fields(old, new)), floor)


def line_changes(old: str, new: str) -> tuple[LineChange, ...]:
    """Compare two texts by lines; beyond 4,000 lines the old one is removed and the new one added as a whole."""
    was, now = old.split("\n"), new.split("\n")
    if old == new:
        return tuple(LineChange(" ", line) for line in was)
    if max(len(was), len(now)) > MAX_LINES:
        return (*(LineChange("-", line) for line in was), *(LineChange("+", line) for line in now))
    found: list[LineChange] = []
    for kind, start, end, other, last in SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        if kind == "equal":
            found += [LineChange(" ", line) for line in was[start:end]]
        else:
            found += [LineChange("-", line) for line in was[start:end]]
            found += [LineChange("+", line) for line in now[other:last]]
    return tuple(found)


def _messages(old: Sequence[PromptMessage], new: Sequence[PromptMessage]) -> Iterator[MessageChange]:
    for kind, start, end, other, last in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            for shift in range(end - start):
                message = old[start + shift]
                yield _whole("same", message, start + shift, other + shift)
            continue
        yield from _replaced(old, new, range(start, end), range(other, last))


def _replaced(
    old: Sequence[PromptMessage], new: Sequence[PromptMessage], gone: range, came: range
) -> Iterator[MessageChange]:
    """Pair messages of one role in their order; what has no partner was removed or added."""
    place = came.start
    for index in gone:
        partner = next((n for n in range(place, came.stop) if new[n].role == old[index].role), None)
        if partner is None:
            yield _whole("removed", old[index], index, None)
            continue
        for added in range(place, partner):
            yield _whole("added", new[added], None, added)
        lines = line_changes(old[index].text, new[partner].text)
        yield MessageChange("changed", new[partner].role, index, partner, lines)
        place = partner + 1
    for added in range(place, came.stop):
        yield _whole("added", new[added], None, added)


def _whole(change: Change, message: PromptMessage, old: int | None, new: int | None) -> MessageChange:
    mark: Literal[" ", "-", "+"] = "+" if change == "added" else "-" if change == "removed" else " "
    return MessageChange(change, message.role, old, new, tuple(LineChange(mark, t) for t in message.text.split("\n")))


def _fields(old: PromptSpec | ChainSpec, new: PromptSpec | ChainSpec) -> Iterator[FieldChange]:
    was, now = _by_path(old.document()), _by_path(new.document())
    for path in sorted(was.keys() | now.keys()):
        if path not in now:
            yield FieldChange(path, "removed", old=was[path])
        elif path not in was:
            yield FieldChange(path, "added", new=now[path])
        elif was[path] != now[path]:
            yield FieldChange(path, "changed", was[path], now[path])


_NAMED: Final = {"variables": "name", "tools": "name", "steps": "name", "includes": "ref"}
_OPENED: Final = ("params", "metadata", "output_schema")


def _by_path(document: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        if key in ("messages", "schema"):
            continue
        if key in _NAMED:
            found |= {f"{key}.{item[_NAMED[key]]}": item for item in value}
        elif key in _OPENED:
            found |= {f"{key}.{name}": item for name, item in value.items()}
        else:
            found[key] = value
    return found
