"""Read YAML that can only be read one way: the JSON data model, core schema of YAML 1.2, nothing else.

No tags, anchors, aliases, merge keys, second documents or duplicate keys, and limits on size and depth: a file that
people edit cannot run code, grow on reading, or mean two things. `yes`, `no` and dates are text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tetrad.kernel import InvalidInput

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 64
MAX_NODES: Final = 50_000

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?[0-9]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_OCTAL = re.compile(r"0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_A_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

Path = tuple[str | int, ...]


class BadYaml(InvalidInput):
    """The text is not YAML, or not of the plain kind; the message starts with the place and the line."""

    code = "bad_yaml"


@dataclass(frozen=True, slots=True)
class PlainYaml:
    """A value, and the line (from 1) on which each of its parts stands, by path: `("model", "name")`."""

    value: Any
    lines: dict[Path, int]

    def line(self, *path: str | int) -> int:
        """Return the line of a part, or of the nearest part around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


@dataclass(slots=True)
class _Frame:
    path: Path
    value: Any
    is_key: bool
    key: str = ""
    seen: set[str] = field(default_factory=set)


def parse_yaml(text: str, *, where: str, first_line: int = 1, max_bytes: int = MAX_BYTES) -> PlainYaml:
    """Read one plain YAML document; raises `BadYaml` naming `where`, the line and what to write instead.

    `first_line` is the line of the file on which `text` begins.
    """
    import yaml

    if len(text) > max_bytes or len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise BadYaml(f"{where} holds more than {max_bytes:,} bytes of YAML", hint="move text out of it")
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    builder = _Builder(where, first_line)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = first_line + (mark.line if mark else 0)
        raise BadYaml(f"{where}:{line}: not YAML: {error.problem or error.context}", hint=_SYNTAX_HINT) from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise BadYaml(f"{where}:{first_line}: not YAML: {error}".replace("\n", " ")[:300], hint=_SYNTAX_HINT) from None
    except RecursionError:
        raise BadYaml(f"{where}:{first_line}: nested too deeply", hint=f"at most {MAX_DEPTH} levels") from None
    return PlainYaml(builder.root, builder.lines)


_SYNTAX_HINT = "put text with `: ` or `#` in it between quotes, and indent with spaces"


class _Builder:
    """Put values together from parser events, without the loader's constructors."""

    def __init__(self, where: str, first_line: int) -> None:
        self.root: Any = None
        self.lines: dict[Path, int] = {}
        self._where = where
        self._first_line = first_line
        self._stack: list[_Frame] = []
        self._documents = 0
        self._nodes = 0

    def take(self, event: Any) -> None:
        act: Callable[[Any], None] | None = getattr(self, "_on_" + type(event).__name__, None)
        if act is not None:
            act(event)

    def _fail(self, event: Any, message: str, hint: str) -> BadYaml:
        return BadYaml(f"{self._where}:{self._first_line + event.start_mark.line}: {message}", hint=hint)

    def _on_DocumentStartEvent(self, event: Any) -> None:  # noqa: N802 - named after the event
        self._documents += 1
        if self._documents > 1:
            raise self._fail(event, "a second document starts here", "keep one document in a file")
        if event.version or event.tags:
            raise self._fail(event, "a YAML directive", "remove it")

    def _on_AliasEvent(self, event: Any) -> None:  # noqa: N802 - named after the event
        raise self._fail(event, f"the alias *{event.anchor}", "write the value out; aliases are not read")

    def _on_ScalarEvent(self, event: Any) -> None:  # noqa: N802 - named after the event
        self._check(event)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and frame.is_key:
            self._key(frame, event)
            return
        self._place(event, self._scalar(event))

    def _on_MappingStartEvent(self, event: Any) -> None:  # noqa: N802 - named after the event
        self._open(event, {})

    def _on_SequenceStartEvent(self, event: Any) -> None:  # noqa: N802 - named after the event
        self._open(event, [])

    def _on_MappingEndEvent(self, _event: Any) -> None:  # noqa: N802 - named after the event
        self._stack.pop()

    def _on_SequenceEndEvent(self, _event: Any) -> None:  # noqa: N802 - named after the event
        self._stack.pop()

    def _check(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._fail(event, f"more than {MAX_NODES:,} values", "split the file")
        if event.anchor is not None:
            raise self._fail(event, f"the anchor &{event.anchor}", "write the value out; anchors are not read")
        if event.tag is not None and event.tag != "!":
            raise self._fail(event, f"the tag {event.tag}", "remove it; values are plain JSON")

    def _open(self, event: Any, value: Any) -> None:
        self._check(event)
        if self._stack and self._stack[-1].is_key:
            raise self._fail(event, "a key that is no text", "keys are text")
        if len(self._stack) >= MAX_DEPTH:
            raise self._fail(event, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        path = self._place(event, value)
        self._stack.append(_Frame(path, value, is_key=isinstance(value, dict)))

    def _key(self, frame: _Frame, event: Any) -> None:
        key = event.value
        if key in frame.seen:
            raise self._fail(event, f"the key {key!r} stands twice", "keep one of them")
        if key == "<<" and not event.style:
            raise self._fail(event, "a merge key", "write the values out; merges are not read")
        frame.seen.add(key)
        frame.key, frame.is_key = key, False
        self.lines[(*frame.path, key)] = self._first_line + event.start_mark.line

    def _place(self, event: Any, value: Any) -> Path:
        if not self._stack:
            self.root = value
            self.lines[()] = self._first_line + event.start_mark.line
            return ()
        frame = self._stack[-1]
        if isinstance(frame.value, dict):
            frame.value[frame.key] = value
            frame.is_key = True
            return (*frame.path, frame.key)
        frame.value.append(value)
        path = (*frame.path, len(frame.value) - 1)
        self.lines[path] = self._first_line + event.start_mark.line
        return path

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if event.style or event.tag == "!":
            return text
        if text in _NULL:
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        if _NOT_A_NUMBER.fullmatch(text):
            raise self._fail(event, f"{text} is no JSON number", "quote it, or write a number")
        for pattern, base in ((_INTEGER, 10), (_HEXADECIMAL, 16), (_OCTAL, 8)):
            if pattern.fullmatch(text):
                if len(text) > 40:
                    raise self._fail(event, "a number of more than 40 digits", "quote it")
                return int(text, base)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if number in (float("inf"), float("-inf")):
                raise self._fail(event, f"{text[:40]} is larger than any JSON number", "quote it")
            return number
        return text
