"""A call or an answer that nests deeply is passed on or refused, however deep the Python at hand can read."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from support.translation import NAMED
from tetrad.kernel import TetradError
from tetrad.serving import BadAnswer
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation import find

_HOLE = "\x00hole\x00"
_TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
_CLAUDE_TOOL = {"name": "f", "description": "d", "input_schema": _TOOL["parameters"]}
_CHAT: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "u"}]},
        {
            "role": "assistant",
            "content": "a",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
    ],
    "tools": [{"type": "function", "function": _TOOL}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "j", "schema": _TOOL["parameters"]}},
    "stop": ["x"],
    "metadata": {"a": "b"},
}
_MESSAGES: dict[str, Any] = {
    "max_tokens": 5,
    "system": [{"type": "text", "text": "s"}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "u"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": {"a": "b"}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "r"}]}],
        },
    ],
    "tools": [_CLAUDE_TOOL],
    "tool_choice": {"type": "tool", "name": "f"},
    "metadata": {"user_id": "u"},
}
_RESPONSES: dict[str, Any] = {
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "u"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "r"},
    ],
    "tools": [{"type": "function", **_TOOL}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"format": {"type": "json_schema", "name": "j", "schema": _TOOL["parameters"]}},
}
_CALLS = {
    "chat": _CHAT,
    "messages": _MESSAGES,
    "responses": _RESPONSES,
    "completions": {"prompt": ["p"], "stop": ["x"]},
    "embeddings": {"input": ["t"]},
    "count_tokens": {name: value for name, value in _MESSAGES.items() if name != "max_tokens"},
}
_ANSWERS: dict[str, Any] = {
    "chat": {
        "id": "1",
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": _CHAT["messages"][2]}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    },
    "messages": {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "t"}, *_MESSAGES["messages"][1]["content"]],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "gemini": {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": "t"}, {"functionCall": {"name": "f", "args": {}}}]},
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1},
    },
    "responses": {
        "id": "1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": "m",
        "output": [
            {"type": "message", "id": "2", "role": "assistant", "content": [{"type": "output_text", "text": "t"}]},
            {"type": "function_call", "id": "3", "call_id": "c", "name": "f", "arguments": "{}"},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "converse": {
        "output": {
            "message": {
                "role": "assistant",
                "content": [{"text": "t"}, {"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}],
            }
        },
        "stopReason": "tool_use",
        "usage": {"inputTokens": 1, "outputTokens": 1},
    },
}
_THOUGHT = [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}]}, {"type": "text", "text": "t"}]
_ANSWERS["mistral"] = {
    "id": "1",
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": _THOUGHT}}],
}
PAIRS = [
    (client, upstream)
    for client, upstream in itertools.product(
        ["chat", "messages", "responses", "completions", "embeddings", "count_tokens"],
        ["chat", "messages", "responses", "gemini", "mistral", "converse", "vectors", "gemini_count", "converse_count"],
    )
    if client != upstream and find(client, [upstream]) is not None
]


def deep(levels: int) -> list[bytes]:
    return [
        b"[" * levels + b"]" * levels,
        b'{"a":' * levels + b"1" + b"}" * levels,
        b'[{"type":"text","text":' * levels + b'"t"' + b"}]" * levels,
        b'{"type":"array","items":' * levels + b"{}" + b"}" * levels,
        b'{"allOf":[' * levels + b"{}" + b"]}" * levels,
    ]


DEEP = [value for levels in (300, 3_000) for value in deep(levels)]


def places(value: Any) -> Iterator[Any]:
    """Yield copies of a value with a hole in the place of each part of it."""
    yield _HOLE
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: holed} for holed in places(inner))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from ([*value[:number], holed, *value[number + 1 :]] for holed in places(inner))


def filled(holed: Any, value: bytes) -> bytes:
    return json.dumps(holed).encode().replace(json.dumps(_HOLE).encode(), value)


def call_of(client: str, fields: dict[str, bytes]) -> ModelCall:
    raws = {name: msgspec.Raw(value) for name, value in {"model": b'"m"', **fields}.items()}
    return ModelCall(NAMED[client], raws, maker="openai/m")


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_a_call_that_nests_deeply_is_translated_or_refused(client: str, upstream: str) -> None:
    translate = find(client, [upstream])
    assert translate is not None
    body = {name: json.dumps(value).encode() for name, value in _CALLS[client].items()}
    assert translate(call_of(client, body), False).call.fields, "what is asked is sound but for what is put into it"
    refused = set()
    for name, value in _CALLS[client].items():
        for holed, inner in itertools.product(places(value), DEEP):
            try:
                translate(call_of(client, {**body, name: filled(holed, inner)}), False)
            except TetradError as error:
                refused.add(error.status)
    assert refused == {400}


@pytest.mark.parametrize(("client", "upstream"), [pair for pair in PAIRS if pair[1] in _ANSWERS])
def test_an_answer_that_nests_deeply_is_translated_or_called_bad(client: str, upstream: str) -> None:
    translate = find(client, [upstream])
    assert translate is not None
    body = {name: json.dumps(value).encode() for name, value in _CALLS[client].items()}
    assert translate(call_of(client, body), False).whole(json.dumps(_ANSWERS[upstream]).encode())
    bad = 0
    for holed, inner in itertools.product(places(_ANSWERS[upstream]), DEEP):
        try:
            translate(call_of(client, body), False).whole(filled(holed, inner))
        except BadAnswer:
            bad += 1
    assert bad
