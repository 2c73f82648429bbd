"""What every format shares: what was read or written, what was dropped, templates in the words of others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from tetrad.kernel import TetradError
from tetrad.kit.plain_yaml import parse_yaml
from tetrad.prompts._file import name_of, yaml_lines
from tetrad.prompts._includes import include_tags
from tetrad.prompts._model import PLACEHOLDER, PromptMessage, PromptSpec
from tetrad.prompts._variables import NAME, RESERVED, VariableSpec
from tetrad.prompts.errors import PromptError

Format = Literal["prompty", "dotprompt", "langfuse", "promptfoo"]
FORMATS: Final[tuple[Format, ...]] = ("prompty", "dotprompt", "langfuse", "promptfoo")
OWN: Final = "tetrad"
"""The key under which a foreign file carries what only we know, where the format leaves room for it."""

_TAG = re.compile(r"\{\{\{?\s*[#^&]?\s*([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Imported:
    """A prompt that was read, and what of its file was not kept, in words."""

    spec: PromptSpec
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exported:
    """A file's text, its usual suffix, and what of the prompt it does not say, in words."""

    text: str
    suffix: str
    dropped: tuple[str, ...] = ()


def bad_file(error: PromptError, path: str) -> PromptError:
    """Let an error begin with the file."""
    if error.message.startswith(f"{path}:"):
        return error
    return PromptError(f"{path}:1: {error.message}", hint=error.hint, code=error.code)


def front_and_body(text: str, path: str) -> tuple[dict[str, Any], str, int]:
    """Split a file at its front matter: the mapping, the body, and the body's first line."""
    lines = text.split("\n")
    if lines[0].rstrip() != "---":
        return {}, text, 1
    end = next((n for n in range(1, len(lines)) if lines[n].rstrip() == "---"), None)
    if end is None:
        raise PromptError(f"{path}:1: the front matter never ends", hint="close it with a line of `---`")
    value = yaml_mapping("\n".join(lines[1:end]), path, first_line=2)
    return value, "\n".join(lines[end + 1 :]), end + 2


def yaml_mapping(text: str, path: str, *, first_line: int = 1) -> dict[str, Any]:
    """Read plain YAML that is a mapping."""
    value = yaml_value(text, path, first_line=first_line)
    if value is not None and not isinstance(value, dict):
        raise PromptError(f"{path}:{first_line}: no mapping", hint="write `key: value` lines")
    return value or {}


def yaml_value(text: str, path: str, *, first_line: int = 1) -> Any:
    """Read plain YAML."""
    try:
        return parse_yaml(text, where=path, first_line=first_line).value
    except TetradError as error:
        raise PromptError(error.message, hint=error.hint) from None


def front_text(front: Mapping[str, Any], body: str) -> str:
    """Write front matter and body."""
    return "---\n" + "".join(yaml_lines(front, 0)) + "---\n" + body


def take(fields: dict[str, Any], key: str, kind: type, path: str, default: Any = None) -> Any:
    """Take a field out of a mapping, of the right type or refused by its name; null is absent."""
    value = fields.pop(key, None)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise PromptError(f"{path}:1: `{key}` is no {_WORDS[kind]}", hint="correct the file")
    return value


_WORDS: Final[dict[type, str]] = {str: "text", dict: "mapping", list: "list"}


def named(name: str, path: str) -> tuple[str, str]:
    """Return a name that we can use, and the one that the file gave where that is another."""
    ours = name_of(name or path) if not _is_name(name) else name
    return ours, name if name and ours != name else ""


def _is_name(name: str) -> bool:
    return re.fullmatch(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", name) is not None


def undeclared_variables(texts: Iterable[str], declared: Iterable[str]) -> list[VariableSpec]:
    """Return variables for what mustache templates name and the file does not declare, as text that must be given."""
    seen = set(declared)
    found: list[VariableSpec] = []
    for text in texts:
        for tag in _TAG.finditer(text):
            name = tag[1]
            if name not in seen and NAME.fullmatch(name) and name not in RESERVED:
                seen.add(name)
                section = re.match(r"\{\{\s*[#^]", tag[0]) is not None
                found.append(VariableSpec(name, "array" if section else "string", *((None,) if section else ())))
    return found


def without_own_tags(messages: Iterable[PromptMessage], spec: PromptSpec) -> list[str]:
    """Say which includes a format that has none cannot resolve."""
    refs = {
        ref
        for message in messages
        if message.role != PLACEHOLDER
        for _, _, ref in include_tags(message.text, spec.syntax)
    }
    return [f"the include of {ref!r} stands as a tag that only Tetrad resolves" for ref in sorted(refs)]


def checked(make: Callable[[], PromptSpec], path: str) -> PromptSpec:
    """Make a prompt, or say with the file's name why it cannot be one."""
    try:
        return make()
    except PromptError as error:
        raise bad_file(error, path) from None


def json_text(value: object) -> str:
    """Write JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
