"""Prompty files: YAML front matter, then messages below lines such as `system:`.

Read are the fields of both generations: `model` with `api`, `configuration`, `parameters` (or `options`), `inputs` by
name or as a list, `outputs`, `tools`, `template` as text or `{format, parser}`, `sample`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from tetrad.prompts._formats._values import (
    OWN,
    Exported,
    Imported,
    checked,
    front_and_body,
    front_text,
    named,
    take,
    undeclared_variables,
    without_own_tags,
)
from tetrad.prompts._model import PLACEHOLDER, ROLES, PromptMessage, PromptSpec
from tetrad.prompts._variables import REQUIRED, VARIABLE_TYPES, VariableSpec
from tetrad.prompts.errors import PromptError

KEY: Final = "prompty"
_MARKER = re.compile(r"(system|developer|user|assistant|placeholder)[ \t]*:[ \t]*", re.IGNORECASE)
_ESCAPED = re.compile(r"\\+(system|developer|user|assistant|placeholder)[ \t]*:[ \t]*", re.IGNORECASE)
_SYNTAX: Final = {"jinja2": "jinja2", "mustache": "mustache"}
_TYPES: Final = {"float": "number", "int": "integer", "bool": "boolean", "list": "array", "dict": "object"}


def read(text: str, path: str) -> Imported:
    """Read a .prompty file."""
    front, body, _ = front_and_body(text, path)
    rest = dict(front)
    name, own_name = named(take(rest, "name", str, path, ""), path)
    own = take(rest, OWN, dict, path, {})
    description = take(rest, "description", str, path, "")
    syntax = _syntax(rest, path)
    variables = _inputs(rest, path)
    messages = _messages(body, path)
    known = [variable.name for variable in variables]
    if syntax == "mustache":
        variables += undeclared_variables([message.text for message in messages], known)
    params = _parameters(rest, path)
    outputs = rest.get("outputs")
    schema = rest.pop("outputs") if isinstance(outputs, dict) and "type" in outputs else None
    tools, kept_tools = _tools(rest)
    if kept_tools:
        rest["tools"] = kept_tools
    if own_name:
        rest["name"] = own_name
    metadata = dict(own.get("metadata") or {})
    if rest:
        metadata[KEY] = rest
    spec = checked(
        lambda: PromptSpec(
            name=name,
            type="text" if own.get("type") == "text" else "chat",
            syntax=syntax,  # type: ignore[arg-type] # one of the two
            messages=tuple(messages),
            variables=tuple(variables),
            output_schema=schema,
            tools=tuple(tools),
            params=params,
            metadata=metadata,
            description=description,
            examples=str(own.get("examples", "")),
        ),
        path,
    )
    return Imported(spec)


def write(spec: PromptSpec) -> Exported:
    """Write a .prompty file."""
    rest = dict(spec.metadata.get(KEY) or {})
    front: dict[str, Any] = {"name": rest.pop("name", spec.name)}
    if spec.description:
        front["description"] = spec.description
    model = dict(rest.pop("model", None) or {})
    if spec.params:
        model["options" if "options" in model or "id" in model else "parameters"] = dict(spec.params)
    if model:
        front["model"] = model
    if spec.variables:
        front["inputs"] = {variable.name: _input(variable) for variable in spec.variables}
    if spec.output_schema is not None:
        front["outputs"] = dict(spec.output_schema)
    tools = [{"type": "function", "function": dict(tool)} for tool in spec.tools] + list(rest.pop("tools", None) or [])
    if tools:
        front["tools"] = tools
    front["template"] = rest.pop("template", None) or {"format": spec.syntax, "parser": "prompty"}
    front |= rest
    own: dict[str, Any] = {}
    if spec.type == "text":
        own["type"] = "text"
    if spec.examples:
        own["examples"] = spec.examples
    if metadata := {key: value for key, value in spec.metadata.items() if key != KEY}:
        own["metadata"] = metadata
    if own:
        front[OWN] = own
    body = "\n".join(f"{message.role}:\n{_escaped(message.text)}\n" for message in spec.messages)
    dropped = without_own_tags(spec.messages, spec)
    dropped += [
        f"the placeholder {message.text!r} is written as a section that Prompty takes for text"
        for message in spec.messages
        if message.role == PLACEHOLDER
    ]
    return Exported(front_text(front, body), ".prompty", tuple(dropped))


def _syntax(rest: dict[str, Any], path: str) -> str:
    template = rest.get("template")
    if template is None:
        return "jinja2"
    form = template.get("format", "jinja2") if isinstance(template, dict) else template
    if isinstance(form, dict):
        form = form.get("kind", "jinja2")
    if form not in _SYNTAX:
        raise PromptError(f"{path}:1: the template format {form!r} is not read", hint="jinja2 and mustache are")
    if template in ("jinja2", {"format": form, "parser": "prompty"}):
        rest.pop("template")
    return _SYNTAX[form]


def _parameters(rest: dict[str, Any], path: str) -> dict[str, Any]:
    model = rest.get("model")
    if not isinstance(model, dict):
        return {}
    model = dict(model)
    key = "options" if "options" in model else "parameters"
    given = take(model, key, dict, path, {})
    kept = {name: value for name, value in given.items() if name in _NOT_OURS}
    if kept or (key == "options" and "id" not in model):
        model[key] = kept
    if model:
        rest["model"] = model
    else:
        rest.pop("model")
    return {name: value for name, value in given.items() if name not in _NOT_OURS}


_NOT_OURS: Final = frozenset({"model", "messages", "stream", "stream_options", "tools", "response_format"})


def _inputs(rest: dict[str, Any], path: str) -> list[VariableSpec]:
    inputs = rest.pop("inputs", None)
    sample = rest.get("sample")
    if inputs is None:
        inputs = {name: {"type": _kind(value)} for name, value in sample.items()} if isinstance(sample, dict) else {}
    if isinstance(inputs, list):
        inputs = {str(each.get("name")): each for each in inputs if isinstance(each, dict)}
    if not isinstance(inputs, dict):
        raise PromptError(f"{path}:1: `inputs` is no mapping", hint="write `name: {type: string}` lines")
    return [_variable(name, value, path) for name, value in inputs.items()]


def _variable(name: str, value: Any, path: str) -> VariableSpec:
    if isinstance(value, str) and value in (*VARIABLE_TYPES, *_TYPES):
        value = {"type": value}
    if not isinstance(value, dict):
        return VariableSpec(name, _kind(value), value)  # type: ignore[arg-type] # a JSON type
    stated = str(value.get("type", value.get("kind", "string")))
    kind: Any = _TYPES.get(stated, stated)
    required = value.get("required", value.get("isRequired"))
    default = value.get("default", None if required is False else REQUIRED)
    description = value.get("description", "")
    try:
        return VariableSpec(name, kind, default, description if isinstance(description, str) else "")
    except PromptError as error:
        raise PromptError(f"{path}:1: {error.message}", hint=error.hint) from None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {int: "integer", float: "number", list: "array", dict: "object"}
    return kinds.get(type(value), "string")


def _input(variable: VariableSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"type": variable.type}
    if variable.default is None:
        found["required"] = False
    elif not variable.required:
        found["default"] = variable.default
    if variable.description:
        found["description"] = variable.description
    return found


def _tools(rest: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Take the tools that are functions; the others stay as they are."""
    ours: list[dict[str, Any]] = []
    others: list[Any] = []
    tools = rest.pop("tools", None) or []
    for tool in tools if isinstance(tools, list) else [tools]:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and set(function) <= {"name", "description", "parameters"}:
            ours.append(function)
        else:
            others.append(tool)
    return ours, others


def _messages(body: str, path: str) -> list[PromptMessage]:
    found: list[tuple[str, list[str]]] = []
    before: list[str] = []
    for line in body.split("\n"):
        marker = _MARKER.fullmatch(line)
        if marker:
            found.append((marker[1].lower(), []))
        else:
            (found[-1][1] if found else before).append(line[1:] if _ESCAPED.fullmatch(line) else line)
    if any(line.strip() for line in before):
        found.insert(0, ("system" if found else "user", before))
    messages = [PromptMessage(role, "\n".join(lines)) for role, lines in found if any(line.strip() for line in lines)]
    if not messages:
        raise PromptError(f"{path}:1: the file has no message", hint=f"write one below a line of {ROLES[0]}:")
    return messages


def _escaped(text: str) -> str:
    return "\n".join(
        "\\" + line if _MARKER.fullmatch(line) or _ESCAPED.fullmatch(line) else line for line in text.split("\n")
    )
