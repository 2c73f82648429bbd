"""YAML as nodes that know their line, read strictly: no aliases, no tags, no duplicate keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

import yaml

from tetrad.releases.errors import BadDeclaration, DeclarationError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_ERRORS = 20
_PLAIN_BOOL = frozenset({"true", "false"})
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


class Reader:
    """Walks nodes, notes every error with its place, and raises them all at the end."""

    def __init__(self, text: bytes, *, where: str = "tetrad.yaml") -> None:
        self._where = where
        self._errors: list[DeclarationError] = []
        self.root: yaml.Node = self._compose(text)

    def _compose(self, data: bytes) -> Any:
        if len(data) > MAX_BYTES:
            self._stop(1, 1, f"the file has {len(data)} bytes, at most {MAX_BYTES}")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self._stop(line, 1, f"the file is not UTF-8: {error.reason}")
        try:
            depth = 0
            for event in yaml.parse(text, Loader=yaml.SafeLoader):
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                    self._stop(*_place(event.start_mark), "anchors and aliases are not read; write the value out")
                if getattr(event, "tag", None):
                    self._stop(*_place(event.start_mark), "tags are not read; write a plain value")
                if depth > MAX_DEPTH:
                    self._stop(*_place(event.start_mark), f"nested deeper than {MAX_DEPTH} levels")
            root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = _place(mark) if mark else (1, 1)
            self._stop(line, column, f"this is not YAML: {error.problem or error.context}")
        except yaml.YAMLError as error:
            self._stop(1, 1, f"this is not YAML: {str(error).splitlines()[0]}")
        if root is None:
            self._stop(1, 1, "the file is empty")
        return root

    def _stop(self, line: int, column: int, reason: str) -> Any:
        raise BadDeclaration([*self._errors, DeclarationError(line, column, reason)], where=self._where)

    def fail(self, node: yaml.Node, reason: str) -> None:
        """Note what is wrong with a node."""
        self._errors.append(DeclarationError(*_place(node.start_mark), reason))
        if len(self._errors) >= MAX_ERRORS:
            self.finish()

    def finish(self) -> None:
        """Raise `BadDeclaration` if anything was noted."""
        if self._errors:
            raise BadDeclaration(sorted(self._errors, key=lambda e: (e.line, e.column)), where=self._where)

    def line(self, node: yaml.Node) -> int:
        """Return the line of a node, from 1."""
        return _place(node.start_mark)[0]

    def fields(self, node: yaml.Node, known: Collection[str] | None, what: str) -> dict[str, yaml.Node]:
        """Return the fields of a mapping; unknown ones and those that stand twice are errors."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{what} is a mapping, not {_kind(node)}")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                self.fail(key, f"a key of {what} is a text")
            elif key.value in found:
                self.fail(key, f"{key.value!r} stands twice in {what}")
            elif known is not None and key.value not in known:
                self.fail(key, f"{what} has no field {key.value!r}; it has {', '.join(sorted(known))}")
            else:
                found[key.value] = value
        return found

    def items(self, node: yaml.Node | None, what: str, most: int) -> Iterator[yaml.Node]:
        """Yield the items of a list, none where it is absent."""
        if node is None:
            return
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{what} is a list, not {_kind(node)}")
        elif len(node.value) > most:
            self.fail(node, f"{what} has {len(node.value)} items, at most {most}")
        else:
            yield from node.value

    def text(
        self, node: yaml.Node | None, what: str, *, longest: int = 256, check: Callable[[str], object] | None = None
    ) -> str:
        """Return a text, empty where it is absent; `check` refuses with an error of ours."""
        from tetrad.kernel import TetradError

        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str":
            quoted = f'; write "{node.value}"' if isinstance(node, yaml.ScalarNode) and node.value else ""
            self.fail(node, f"{what} is a text, not {_kind(node)}{quoted}")
            return ""
        if len(node.value) > longest:
            self.fail(node, f"{what} has {len(node.value)} characters, at most {longest}")
            return ""
        if check is not None and node.value:
            try:
                check(node.value)
            except TetradError as error:
                self.fail(node, f"{error.message} ({error.hint})" if error.hint else error.message)
                return ""
        return str(node.value)

    def value(self, node: yaml.Node) -> Any:
        """Return any JSON value; what YAML 1.1 reads in surprising ways (`yes`, `0x1f`, `1_000`) is an error."""
        if isinstance(node, yaml.MappingNode):
            return {name: self.value(inner) for name, inner in self.fields(node, None, "the mapping").items()}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(inner) for inner in node.value]
        kind, text = node.tag.rpartition(":")[2], node.value
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool" and text in _PLAIN_BOOL:
            return text == "true"
        if kind in ("int", "float") and _NUMBER.fullmatch(text):
            return float(text) if kind == "float" else int(text)
        self.fail(node, f"{text!r} can be read in two ways; quote it, or write a plain number, true or false")
        return None


def _place(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    names = {"int": "a number", "float": "a number", "bool": "a truth value", "null": "nothing", "str": "a text"}
    return names.get(node.tag.rpartition(":")[2], f"a {node.tag.rpartition(':')[2]}")
