"""Langfuse prompts as its API gives and takes them, in JSON: text or a list of messages and placeholders."""

from __future__ import annotations

import json
from typing import Any, Final

from tetrad.kernel import TetradError, parse_json
from tetrad.prompts._formats._values import (
    OWN,
    Exported,
    Imported,
    checked,
    json_text,
    named,
    take,
    undeclared_variables,
    without_own_tags,
)
from tetrad.prompts._model import PLACEHOLDER, PromptMessage, PromptSpec
from tetrad.prompts._variables import NAME, VariableSpec
from tetrad.prompts.errors import PromptError

KEY: Final = "langfuse"
_VOLATILE: Final = ("id", "version", "createdAt", "updatedAt", "createdBy", "projectId", "isActive", "resolutionGraph")
_NOT_PARAMS: Final = frozenset({"model", "messages", "stream", "stream_options", "tools", "response_format"})
_PARAMS: Final = frozenset(
    {"temperature", "top_p", "max_tokens", "max_completion_tokens", "frequency_penalty", "presence_penalty", "seed",
     "stop", "n", "logprobs", "top_logprobs", "reasoning_effort"}
)  # fmt: skip


def looks_like(text: str) -> bool:
    """Tell whether JSON is a Langfuse prompt rather than a list of messages."""
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and "prompt" in value


def read(text: str, path: str) -> Imported:
    """Read a prompt of Langfuse's API."""
    try:
        value = parse_json(text.encode("utf-8"), where=path)
    except TetradError as error:
        raise PromptError(f"{path}:1: {error.message}", hint=error.hint) from None
    if not isinstance(value, dict) or "prompt" not in value:
        raise PromptError(f"{path}:1: no Langfuse prompt", hint='it is {"name": …, "type": …, "prompt": …}')
    rest: dict[str, Any] = dict(value)
    name, own_name = named(take(rest, "name", str, path, ""), path)
    body = rest.pop("prompt")
    kind = rest.pop("type", "chat" if isinstance(body, list) else "text")
    dropped = [f"{key}: it belongs to the other system" for key in _VOLATILE if rest.pop(key, None) is not None]
    config = dict(take(rest, "config", dict, path, {}))
    own = take(config, OWN, dict, path, {})
    params = {key: config.pop(key) for key in list(config) if key in _PARAMS}
    params |= dict(own.get("params") or {})
    if kind == "text":
        if not isinstance(body, str):
            raise PromptError(f"{path}:1: a text prompt is text", hint="give `prompt` as text, or `type: chat`")
        messages = [PromptMessage("user", body)]
    else:
        messages = _messages(body, path)
    if own_name:
        rest["name"] = own_name
    if config:
        rest["config"] = config
    rest = {key: item for key, item in rest.items() if item not in (None, [], {}, "")}
    metadata = dict(own.get("metadata") or {})
    if rest:
        metadata[KEY] = rest
    variables = [
        VariableSpec(
            item["name"], item["type"], *((item["default"],) if "default" in item else ()),
            **({"description": item["description"]} if item.get("description") else {}),
        )
        for item in own.get("variables") or ()
    ]  # fmt: skip
    known = {variable.name for variable in variables}
    variables += [
        VariableSpec(message.text, "array", None)
        for message in messages
        if message.role == PLACEHOLDER and message.text != "messages" and message.text not in known
    ]
    known = {variable.name for variable in variables}
    variables += undeclared_variables((m.text for m in messages if m.role != PLACEHOLDER), known)
    spec = checked(
        lambda: PromptSpec(
            name=name,
            type="text" if kind == "text" else "chat",
            syntax=own.get("syntax", "mustache"),
            messages=tuple(messages),
            variables=tuple(variables),
            output_schema=own.get("output_schema"),
            tools=tuple(own.get("tools") or ()),
            params=params,
            metadata=metadata,
            description=str(own.get("description", "")),
            examples=str(own.get("examples", "")),
        ),
        path,
    )
    return Imported(spec, tuple(dropped))


def write(spec: PromptSpec) -> Exported:
    """Write what Langfuse's API takes to make a prompt."""
    rest = dict(spec.metadata.get(KEY) or {})
    body: Any = (
        spec.messages[0].text
        if spec.type == "text"
        else [
            {"type": "placeholder", "name": message.text}
            if message.role == PLACEHOLDER
            else {"role": message.role, "content": message.text}
            for message in spec.messages
        ]
    )
    config = {
        **{key: value for key, value in spec.params.items() if key in _PARAMS},
        **(rest.pop("config", None) or {}),
    }
    own = _own(spec)
    if own:
        config[OWN] = own
    document = {"name": rest.pop("name", spec.name), "type": spec.type, "prompt": body, "config": config, **rest}
    dropped = without_own_tags(spec.messages, spec)
    told = [field for field in ("variables", "output_schema", "tools", "examples", "description") if field in own]
    if told:
        dropped.append(f"{', '.join(told)}: kept in config.{OWN}, which Langfuse passes on and does not read")
    if spec.syntax == "jinja2":
        dropped.append("the text is Jinja2, which Langfuse does not render")
    return Exported(json_text(document), ".json", tuple(dropped))


def _own(spec: PromptSpec) -> dict[str, Any]:
    document = spec.document()
    kept = ("variables", "output_schema", "tools", "examples", "description")
    own: dict[str, Any] = {key: document[key] for key in kept if key in document}
    if spec.syntax != "mustache":
        own["syntax"] = spec.syntax
    if params := {key: value for key, value in spec.params.items() if key not in _PARAMS}:
        own["params"] = params
    if metadata := {key: value for key, value in spec.metadata.items() if key != KEY}:
        own["metadata"] = metadata
    return own


def _messages(body: Any, path: str) -> list[PromptMessage]:
    if not isinstance(body, list) or not body:
        raise PromptError(f"{path}:1: a chat prompt is a list of messages", hint="give `prompt` as a list")
    found = []
    for number, item in enumerate(body, 1):
        if isinstance(item, dict) and item.get("type") == "placeholder" and isinstance(item.get("name"), str):
            if not NAME.fullmatch(item["name"]):
                raise PromptError(
                    f"{path}:1: message {number}: {item['name']!r} is no name for a variable", hint="rename"
                )
            found.append(PromptMessage(PLACEHOLDER, item["name"]))
            continue
        if not isinstance(item, dict) or not isinstance(item.get("content"), str) or "role" not in item:
            raise PromptError(f"{path}:1: message {number} has no role or no text", hint='{"role": …, "content": …}')
        found.append(PromptMessage(str(item["role"]), item["content"]))
    return found
