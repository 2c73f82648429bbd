"""Dotprompt files: YAML front matter, then Handlebars text with `{{role "user"}}` and `{{history}}`.

Schemas in Picoschema are read into JSON Schema where they are simple (`name: type, description`, `name?`, arrays,
objects, enums); written is JSON Schema, which the format takes as well.
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
from tetrad.prompts._model import CLIENT_MESSAGES, PLACEHOLDER, PromptMessage, PromptSpec
from tetrad.prompts._variables import REQUIRED, VARIABLE_TYPES, VariableSpec
from tetrad.prompts.errors import PromptError

KEY: Final = "dotprompt"
_ROLES: Final = {"system": "system", "user": "user", "model": "assistant"}
_NAMES: Final = {"system": "system", "developer": "system", "user": "user", "assistant": "model"}
_MARK = re.compile(r"""\{\{\s*(?:role\s+"(?P<role>\w+)"|(?P<history>history))\s*\}\}""")
_UNREADABLE = re.compile(
    r"\{\{~?\s*(#(?:if|unless|each|with)\b[^}]*|else|media\b[^}]*|section\b[^}]*|>[^}]*|@[^}]*)\}\}"
)
_FIELD = re.compile(r"([A-Za-z_]\w*)(\?)?(?:\((array|object|enum)(?:,\s*(.*))?\))?", re.DOTALL)
_SCALARS: Final = ("string", "number", "integer", "boolean", "null", "any")


def read(text: str, path: str) -> Imported:
    """Read a .prompt file."""
    front, body, first_line = front_and_body(text, path)
    rest = dict(front)
    own = take(rest, OWN, dict, path, {})
    name, own_name = named(take(rest, "name", str, path, ""), path)
    description = take(rest, "description", str, path, "")
    params = take(rest, "config", dict, path, {})
    kept_params = {key: params.pop(key) for key in list(params) if key in _NOT_OURS}
    if kept_params:
        rest["config"] = kept_params
    dropped: list[str] = []
    given_input = dict(take(rest, "input", dict, path, {}))
    defaults = take(given_input, "default", dict, path, {})
    inputs = json_schema(given_input.pop("schema", None), path)
    output = dict(take(rest, "output", dict, path, {}))
    schema = json_schema(output.pop("schema", None), path)
    if output == {"format": "json"} and schema is not None:
        output = {}
    rest |= {key: left for key, left in (("input", given_input), ("output", output)) if left}
    if found := _UNREADABLE.search(body):
        line = first_line + body.count("\n", 0, found.start())
        raise PromptError(
            f"{path}:{line}: {found[0]} is Handlebars that Mustache has not", hint="write it as a section {{#name}}"
        )
    messages = _messages(body)
    variables = _variables(inputs, defaults)
    known = [variable.name for variable in variables]
    variables += undeclared_variables((m.text for m in messages if m.role != PLACEHOLDER), known)
    if own_name:
        rest["name"] = own_name
    metadata = dict(own.get("metadata") or {})
    if rest:
        metadata[KEY] = rest
    roles = own.get("roles") or []
    if len(roles) == len(messages):
        messages = [PromptMessage(str(role), message.text) for role, message in zip(roles, messages, strict=True)]
    spec = checked(
        lambda: PromptSpec(
            name=name,
            type="text" if own.get("type") == "text" else "chat",
            messages=tuple(messages),
            variables=tuple(variables),
            output_schema=schema,
            tools=tuple(own.get("tools") or ()),
            params=params,
            metadata=metadata,
            description=description,
            examples=str(own.get("examples", "")),
        ),
        path,
    )
    return Imported(spec, tuple(dropped))


_NOT_OURS: Final = frozenset({"model", "messages", "stream", "stream_options", "tools", "response_format"})


def write(spec: PromptSpec) -> Exported:
    """Write a .prompt file."""
    if spec.syntax != "mustache":
        raise PromptError(
            f"{spec.name!r} is written in Jinja2, and Dotprompt in Handlebars", hint="export it as prompty or promptfoo"
        )
    rest = dict(spec.metadata.get(KEY) or {})
    front: dict[str, Any] = {"name": rest.pop("name", spec.name)}
    if spec.description:
        front["description"] = spec.description
    if "model" in rest:
        front["model"] = rest.pop("model")
    if config := {**dict(spec.params), **(rest.pop("config", None) or {})}:
        front["config"] = config
    given = dict(rest.pop("input", None) or {})
    if spec.variables:
        front["input"] = {**_input(spec), **given}
    elif given:
        front["input"] = given
    output = dict(rest.pop("output", None) or {})
    if spec.output_schema is not None:
        front["output"] = {"format": "json", **output, "schema": dict(spec.output_schema)}
    elif output:
        front["output"] = output
    front |= rest
    own = _own(spec)
    if own:
        front[OWN] = own
    dropped = without_own_tags(spec.messages, spec)
    if any(message.role == "developer" for message in spec.messages):
        dropped.append("messages of the developer are written as messages of the system")
    if spec.tools:
        dropped.append("tools are kept for Tetrad; Dotprompt names tools that its own program defines")
    dropped += [
        f"the placeholder {message.text!r} is kept for Tetrad; Dotprompt has a place for the history alone"
        for message in spec.messages
        if message.role == PLACEHOLDER and message.text != CLIENT_MESSAGES
    ]
    parts = [_part(message) for message in spec.messages]
    return Exported(front_text(front, "".join(parts)), ".prompt", tuple(dropped))


def _own(spec: PromptSpec) -> dict[str, Any]:
    own: dict[str, Any] = {}
    if spec.type == "text":
        own["type"] = "text"
    if any(m.role == "developer" or (m.role == PLACEHOLDER and m.text != CLIENT_MESSAGES) for m in spec.messages):
        own["roles"] = list(spec.roles)
    if spec.tools:
        own["tools"] = [dict(tool) for tool in spec.tools]
    if spec.examples:
        own["examples"] = spec.examples
    if metadata := {key: value for key, value in spec.metadata.items() if key != KEY}:
        own["metadata"] = metadata
    return own


def _part(message: PromptMessage) -> str:
    if message.role == PLACEHOLDER:
        return "{{history}}\n" if message.text == CLIENT_MESSAGES else f'{{{{role "user"}}}}\n{message.text}\n'
    return f'{{{{role "{_NAMES[message.role]}"}}}}\n{message.text}\n'


def _messages(body: str) -> list[PromptMessage]:
    found: list[PromptMessage] = []
    role, start = "user", 0
    for mark in [*_MARK.finditer(body), None]:
        text = body[start : mark.start() if mark else len(body)]
        if text.strip():
            found.append(PromptMessage(role, text))
        if mark is None:
            return found
        start = mark.end()
        if mark["history"]:
            found.append(PromptMessage(PLACEHOLDER, CLIENT_MESSAGES))
            role = "user"
        elif mark["role"] not in _ROLES:
            raise PromptError(f"the role {mark['role']!r} is not read", hint="system, user and model are")
        else:
            role = _ROLES[mark["role"]]
    return found


def _variables(schema: dict[str, Any] | None, defaults: dict[str, Any]) -> list[VariableSpec]:
    fields = (schema or {}).get("properties", {})
    required = set((schema or {}).get("required", ()))
    found = []
    for name, field in fields.items():
        kind: Any = field.get("type") if isinstance(field, dict) else None
        default = defaults.get(name, REQUIRED if name in required else None)
        description = str(field.get("description", "")) if isinstance(field, dict) else ""
        found.append(VariableSpec(name, kind if kind in VARIABLE_TYPES else "string", default, description))
    found += [VariableSpec(name, _kind(value), value) for name, value in defaults.items() if name not in fields]  # type: ignore[arg-type] # a JSON type
    return found


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {int: "integer", float: "number", list: "array", dict: "object"}
    return kinds.get(type(value), "string")


def _input(spec: PromptSpec) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for variable in spec.variables:
        fields[variable.name] = {"type": variable.type}
        if variable.description:
            fields[variable.name]["description"] = variable.description
    schema: dict[str, Any] = {"type": "object", "properties": fields}
    if required := [variable.name for variable in spec.variables if variable.required]:
        schema["required"] = required
    found: dict[str, Any] = {"schema": schema}
    defaults = {v.name: v.default for v in spec.variables if not v.required and v.default is not None}
    return found | ({"default": defaults} if defaults else {})


def json_schema(schema: Any, path: str) -> dict[str, Any] | None:
    """Return a schema as JSON Schema: as it is where it is one, else read as Picoschema."""
    if schema is None:
        return None
    if isinstance(schema, dict) and (schema.get("type") in ("object", "array") or "$schema" in schema):
        return schema
    if isinstance(schema, dict):
        return _object(schema, path)
    return _pico(schema, path)


def _object(fields: dict[str, Any], path: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    extra: Any = False
    for key, value in fields.items():
        if key == "(*)":
            extra = _pico(value, path)
            continue
        found = _FIELD.fullmatch(key)
        if found is None:
            raise PromptError(f"{path}:1: {key!r} is no field of a Picoschema", hint="write `name: string, what it is`")
        name, optional, kind, description = found.groups()
        if kind == "enum":
            inner: dict[str, Any] = {"enum": value if isinstance(value, list) else [value]}
        elif kind == "array":
            inner = {"type": "array", "items": _pico(value, path)}
        else:
            inner = _pico(value, path)
        if description:
            inner = {**inner, "description": description.strip()}
        properties[name] = inner
        if not optional:
            required.append(name)
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": extra}
    return schema | ({"required": required} if required else {})


def _pico(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return _object(value, path)
    if not isinstance(value, str):
        raise PromptError(f"{path}:1: {value!r} is no type of a Picoschema", hint=f"types are {', '.join(_SCALARS)}")
    kind, _, description = (part.strip() for part in value.partition(","))
    if kind not in _SCALARS:
        raise PromptError(f"{path}:1: {kind!r} is no type of a Picoschema", hint=f"types are {', '.join(_SCALARS)}")
    schema = {} if kind == "any" else {"type": kind}
    return schema | ({"description": description} if description else {})
