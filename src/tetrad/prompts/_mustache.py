"""The Mustache subset, translated to a minijinja template.

Variables, dotted names, sections, inverted sections, comments and `{{.}}`, as in the Mustache specification (mustache
5), without partials, lambdas, delimiter changes and HTML escaping; and strict where Mustache is silent about missing
values. The translation uses control characters as delimiters, so no text of a prompt can open a tag.
"""

from __future__ import annotations

import json
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from tetrad.prompts._limits import MAX_SECTION_DEPTH
from tetrad.prompts.errors import PromptError, past_limit

VARIABLE_OPEN, VARIABLE_CLOSE = "\x02", "\x03"
BLOCK_OPEN, BLOCK_CLOSE = "\x04", "\x05"
COMMENT_OPEN, COMMENT_CLOSE = "\x06", "\x07"
CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")

_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*)*")
_STANDALONE = frozenset("#^/!")


@dataclass(frozen=True, slots=True)
class Translation:
    """A template for minijinja, and what bounds its work."""

    source: str
    has_tags: bool
    looped_text_chars: int


@dataclass(slots=True)
class _Translator:
    template: str
    names: AbstractSet[str]
    out: list[str] = field(default_factory=list)
    open_sections: list[tuple[str, str, int]] = field(default_factory=list)
    longest_in_section: int = 0

    def text(self, piece: str) -> None:
        if self.open_sections:
            self.longest_in_section = max(self.longest_in_section, len(piece))
        self.out.append(piece)

    def line(self, at: int) -> int:
        return self.template.count("\n", 0, at) + 1

    def scopes(self) -> str:
        """Return the open sections' values, innermost first: where a name is looked up before the variables."""
        loops = [f"_s{i}" for i, (kind, _, _) in enumerate(self.open_sections) if kind == "#"]
        return "".join(f", {name}" for name in reversed(loops))

    def value(self, path: str, at: int, *, strict: bool) -> str:
        scopes = self.scopes()
        if path == ".":
            if not scopes:
                raise PromptError(
                    f"line {self.line(at)}: `{{{{.}}}}` stands outside every section",
                    hint="it means the item of the section around it",
                )
            return scopes[2:].split(",")[0]
        if not _PATH.fullmatch(path):
            raise PromptError(
                f"line {self.line(at)}: {path[:60]!r} is no name for a variable",
                hint="a name is letters, digits and underscores; dots reach into objects",
            )
        first = path.partition(".")[0]
        if not scopes:
            if first not in self.names:
                raise undeclared(first, self.line(at), self.names)
            if first == path:
                return first
        return f"_look({json.dumps(path)}, {str(strict).lower()}, _values{scopes})"


def undeclared(name: str, line: int, names: AbstractSet[str]) -> PromptError:
    """Say that a template uses a variable that the prompt does not declare."""
    known = ", ".join(sorted(names)) or "none"
    return PromptError(
        f"line {line}: the variable {name!r} is not declared", hint=f"declare it, or use one of the declared: {known}"
    )


def translate(template: str, names: AbstractSet[str]) -> Translation:
    """Return the minijinja template of a Mustache template; raises `PromptError` with the line of the fault."""
    if found := CONTROL.search(template):
        line = template.count("\n", 0, found.start()) + 1
        raise PromptError(f"line {line}: the template holds the control character {found.group()!r}", hint="remove it")
    todo = _Translator(template, names)
    position, tags = 0, 0
    while (start := template.find("{{", position)) >= 0:
        kind, content, end = _tag(todo, start)
        before, after = start, end
        if kind in _STANDALONE:
            before, after = _standalone(template, position, start, end)
        todo.text(template[position:before])
        _emit(todo, kind, content, start)
        position, tags = after, tags + 1
    todo.text(template[position:])
    if todo.open_sections:
        _, path, at = todo.open_sections[-1]
        raise PromptError(
            f"line {todo.line(at)}: the section {path!r} is never closed", hint=f"close it with {{{{/{path}}}}}"
        )
    return Translation("".join(todo.out), tags > 0, todo.longest_in_section)


def _tag(todo: _Translator, start: int) -> tuple[str, str, int]:
    """Read the tag that opens at `start`: its kind, its content, and where it ends."""
    template = todo.template
    triple = template.startswith("{{{", start)
    close = "}}}" if triple else "}}"
    inside = start + len(close)
    end = template.find(close, inside)
    if end < 0:
        raise PromptError(f"line {todo.line(start)}: a tag opens here and never closes", hint=f"close it with {close}")
    raw = template[inside:end]
    if triple:
        return "", raw.strip(), end + 3
    kind = raw[:1] if raw[:1] in tuple("#^/!>=&$<") else ""
    return kind, raw[len(kind) :].strip(), end + 2


def _standalone(template: str, floor: int, start: int, end: int) -> tuple[int, int]:
    """Widen a tag that is alone on its line to the whole line, so that it leaves no empty line behind."""
    line_start = template.rfind("\n", 0, start) + 1
    if line_start < floor or template[line_start:start].strip(" \t"):
        return start, end
    line_end = template.find("\n", end)
    rest = template[end:] if line_end < 0 else template[end:line_end]
    if rest.strip(" \t\r"):
        return start, end
    return line_start, len(template) if line_end < 0 else line_end + 1


def _emit(todo: _Translator, kind: str, content: str, at: int) -> None:
    if kind in ("", "&"):
        todo.out.append(f"{VARIABLE_OPEN}{todo.value(content, at, strict=True)}{VARIABLE_CLOSE}")
    elif kind == "#":
        value = todo.value(content, at, strict=False)
        _push(todo, kind, content, at)
        name = f"_s{len(todo.open_sections) - 1}"
        todo.out.append(f"{BLOCK_OPEN}for {name} in _each({value}){BLOCK_CLOSE}")
    elif kind == "^":
        value = todo.value(content, at, strict=False)
        _push(todo, kind, content, at)
        todo.out.append(f"{BLOCK_OPEN}if not _each({value}){BLOCK_CLOSE}")
    elif kind == "/":
        _close(todo, content, at)
    elif kind != "!":
        if kind == ">":
            raise PromptError(
                f"line {todo.line(at)}: {content[:60]!r} is included here and is not resolved",
                hint="commit the prompt: what it includes is looked up then",
            )
        what = {
            "<": "parents",
            "$": "blocks",
            "=": "other delimiters",
        }[kind]
        raise PromptError(
            f"line {todo.line(at)}: {what} are not in the Mustache subset",
            hint="sections, inverted sections, variables and comments are; `syntax: jinja2` offers more",
        )


def _push(todo: _Translator, kind: str, path: str, at: int) -> None:
    if len(todo.open_sections) >= MAX_SECTION_DEPTH:
        raise past_limit(
            f"line {todo.line(at)}: sections nested deeper than {MAX_SECTION_DEPTH} levels", hint="flatten the template"
        )
    todo.open_sections.append((kind, path, at))


def _close(todo: _Translator, path: str, at: int) -> None:
    if not todo.open_sections:
        raise PromptError(f"line {todo.line(at)}: {{{{/{path}}}}} closes a section that is not open")
    kind, opened, opened_at = todo.open_sections.pop()
    if opened != path:
        raise PromptError(
            f"line {todo.line(at)}: {{{{/{path}}}}} closes the section {opened!r} of line {todo.line(opened_at)}",
            hint=f"close it with {{{{/{opened}}}}} first",
        )
    todo.out.append(f"{BLOCK_OPEN}{'endfor' if kind == '#' else 'endif'}{BLOCK_CLOSE}")
