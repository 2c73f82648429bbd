"""promptfoo prompts: text, or a list of messages in JSON or YAML, with Nunjucks variables.

Nunjucks is read as Mustache while only variables are used, and as Jinja2 where there are blocks.
"""

from __future__ import annotations

import re
from typing import Any, Final

from tetrad.kernel import TetradError, parse_json
from tetrad.prompts._formats._values import (
    Exported,
    Imported,
    checked,
    json_text,
    named,
    undeclared_variables,
    without_own_tags,
    yaml_value,
)
from tetrad.prompts._jinja import FILTERS
from tetrad.prompts._model import PLACEHOLDER, PromptMessage, PromptSpec
from tetrad.prompts._variables import NAME, RESERVED, VariableSpec
from tetrad.prompts.errors import PromptError

_SEPARATOR = re.compile(r"^---[ \t]*$", re.MULTILINE)
_EXPRESSION = re.compile(r"\{\{[^}]*[|(\[+~'\"][^}]*\}\}")
_NAME = re.compile(r"(?<![.\w'\"|])([A-Za-z_]\w*)(?!\w*\()")
_TAGS = re.compile(r"\{[{%](.*?)[%}]\}", re.DOTALL)
_LOOP = re.compile(r"\bfor\s+(\w+)(?:\s*,\s*(\w+))?\s+in\b")
_STATEMENTS: Final = frozenset({"endif", "endfor", "endraw", "raw", "set", "loop"})


def read(text: str, path: str) -> Imported:
    """Read a .txt, .json or .yaml prompt file; one prompt in a file."""
    suffix = path.rsplit(".", 1)[-1].lower()
    name, _ = named("", path)
    dropped: list[str] = []
    if suffix == "json":
        try:
            value: Any = parse_json(text.encode("utf-8"), where=path)
        except TetradError as error:
            raise PromptError(f"{path}:1: {error.message}", hint=error.hint) from None
        messages = _messages(value, path)
    elif suffix in ("yaml", "yml"):
        messages = _messages(yaml_value(text, path), path)
    else:
        if _SEPARATOR.search(text):
            raise PromptError(f"{path}:1: the file holds several prompts between `---`", hint="one prompt in a file")
        messages = [PromptMessage("user", text)]
    is_text = suffix not in ("json", "yaml", "yml")
    texts = [message.text for message in messages]
    blocks = any("{%" in each or "{#" in each or _EXPRESSION.search(each) for each in texts)
    spec = checked(
        lambda: PromptSpec(
            name=name,
            type="text" if is_text else "chat",
            syntax="jinja2" if blocks else "mustache",
            messages=tuple(messages),
            variables=tuple(_jinja_variables(texts) if blocks else undeclared_variables(texts, ())),
        ),
        path,
    )
    return Imported(spec, tuple(dropped))


def write(spec: PromptSpec) -> Exported:
    """Write text for a text prompt, and a JSON list of messages for a chat prompt."""
    dropped = without_own_tags(spec.messages, spec)
    dropped += [
        f"{what}: promptfoo keeps it in its configuration"
        for what, there in (
            ("the name", False),
            ("the description", spec.description),
            ("the output schema", spec.output_schema is not None),
            ("the tools", spec.tools),
            ("the defaults of the request", spec.params),
            ("the examples", spec.examples),
            ("the metadata", spec.metadata),
        )
        if there
    ]
    dropped += [
        f"type, default and description of the variable {variable.name!r}"
        for variable in spec.variables
        if variable != VariableSpec(variable.name)
    ]
    if spec.syntax == "mustache" and any("{{#" in m.text or "{{^" in m.text for m in spec.messages):
        dropped.append("sections of Mustache, which Nunjucks takes for comments or errors")
    if spec.type == "text":
        return Exported(spec.messages[0].text + "\n", ".txt", tuple(dropped))
    messages = []
    for message in spec.messages:
        if message.role == PLACEHOLDER:
            dropped.append(f"the placeholder {message.text!r}")
        else:
            messages.append({"role": message.role, "content": message.text})
    return Exported(json_text(messages), ".json", tuple(dropped))


def _messages(value: Any, path: str) -> list[PromptMessage]:
    if not isinstance(value, list) or not value:
        raise PromptError(f"{path}:1: no list of messages", hint='write [{"role": "user", "content": "…"}]')
    found = []
    for number, item in enumerate(value, 1):
        if not isinstance(item, dict) or not isinstance(item.get("content"), str) or set(item) - {"role", "content"}:
            raise PromptError(f"{path}:1: message {number} is not a role and a text", hint="nothing else is read")
        found.append(PromptMessage(str(item.get("role", "")), item["content"]))
    return found


def _jinja_variables(texts: list[str]) -> list[VariableSpec]:
    """Return what the tags of Jinja2 texts name and no loop makes."""
    found: dict[str, VariableSpec] = {}
    inner: set[str] = set()
    for text in texts:
        for tag in _TAGS.finditer(text):
            loop = _LOOP.search(tag[1])
            if loop:
                inner |= {name for name in loop.groups() if name}
            looped = tag[1].partition(" in ")[2].strip("- ") if loop else ""
            for name in _NAME.findall(re.sub(r"'[^']*'|\"[^\"]*\"", "", tag[1])):
                if NAME.fullmatch(name) and name not in RESERVED | _STATEMENTS | FILTERS and name not in inner:
                    kind = "array" if looped == name else "string"
                    found.setdefault(name, VariableSpec(name, kind))  # type: ignore[arg-type] # one of two
    return list(found.values())
