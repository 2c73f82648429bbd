"""What a recorded answer said, whatever protocol its client speaks: texts, and calls of tools."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from tetrad.kernel import UNREADABLE

_list = msgspec.json.Decoder(list[Any])


class Said(NamedTuple):
    """One answer: its text, the calls as (name, arguments as JSON text), and whether the model declined."""

    text: str
    calls: tuple[tuple[str, str], ...]
    refused: bool = False


def said(operation: str, output: bytes) -> list[Said]:
    """Read `Outcome.output`; one entry per choice of chat completions, else one. Empty where nothing can be read."""
    try:
        messages = [each for each in _list.decode(output) if isinstance(each, dict)]
    except UNREADABLE:
        return []
    if not messages:
        return []
    if operation == "responses":
        return [_of_items(messages)]
    return [_of_message(message) for message in messages]


def _of_message(message: dict[str, Any]) -> Said:
    calls = []
    for call in _listed(message.get("tool_calls")):
        function = call.get("function")
        if isinstance(function, dict):
            calls.append((str(function.get("name") or ""), str(function.get("arguments") or "")))
    called = message.get("function_call")
    if isinstance(called, dict):
        calls.append((str(called.get("name") or ""), str(called.get("arguments") or "")))
    content = message.get("content")
    texts = [content] if isinstance(content, str) else []
    for part in _listed(content):
        kind = part.get("type")
        if kind == "text":
            texts.append(str(part.get("text") or ""))
        elif kind == "tool_use":
            calls.append((str(part.get("name") or ""), msgspec.json.encode(part.get("input")).decode()))
    return Said("".join(texts), tuple(calls), bool(message.get("refusal")))


def _of_items(items: list[dict[str, Any]]) -> Said:
    texts, calls, refused = [], [], False
    for item in items:
        if item.get("type") == "function_call":
            calls.append((str(item.get("name") or ""), str(item.get("arguments") or "")))
        elif item.get("type") == "message":
            for part in _listed(item.get("content")):
                kind = part.get("type")
                refused = refused or kind == "refusal"
                if kind == "output_text":
                    texts.append(str(part.get("text") or ""))
    return Said("".join(texts), tuple(calls), refused)


def _listed(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; whatever else an upstream put there says nothing."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
