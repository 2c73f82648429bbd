"""Translation loses nothing that both protocols can say, and meets rubbish with an error of ours."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.translation import data_of, events_of, gathered, translated
from tetrad.kernel import TetradError
from tetrad.serving import RequestRefused
from tetrad.serving.ports import Outcome
from tetrad.serving.translation import Translation

PAIRS = [("chat", "messages"), ("messages", "chat"), ("chat", "responses"), ("messages", "responses")]
pairs = pytest.mark.parametrize(("client", "upstream"), PAIRS)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
names = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(texts, values, max_size=3)
KEYS = (
    "role", "content", "type", "text", "model", "messages", "system", "tools", "tool_choice", "function",
    "name", "arguments", "id", "input", "index", "delta", "usage", "choices", "finish_reason", "stop_reason",
    "content_block", "message", "error", "thinking", "signature", "source", "image_url", "url", "data",
    "tool_calls", "tool_use_id", "tool_result", "tool_use", "max_tokens", "stop", "n", "response_format",
    "json_schema", "schema", "output_config", "format", "metadata", "extra_content", "anthropic", "blocks",
    "chars", "reasoning_content", "input_schema", "media_type", "partial_json", "item", "output", "summary", "response",
    "output_index", "encrypted_content", "functions", "function_call", "custom",
    "call_id", "status", "object", "openai",
)  # fmt: skip
WORDS = (
    "user", "assistant", "system", "tool", "text", "image", "image_url", "base64", "url", "tool_use",
    "tool_result", "thinking", "document", "file", "function", "auto", "any", "required", "none", "json_schema",
    "message_start", "message_delta", "message_stop", "content_block_start", "content_block_delta",
    "content_block_stop", "text_delta", "input_json_delta", "thinking_delta", "signature_delta", "error",
    "ping", "reasoning", "message", "function_call", "custom", "custom_tool_call",
    "allowed_tools", "output_text", "response", "completed", "response.created",
    "response.output_item.added", "response.output_item.done", "response.output_text.delta", "response.completed",
    "response.function_call_arguments.delta", "response.reasoning_summary_text.delta", "response.failed",
)  # fmt: skip
rubbish = st.recursive(
    scalars | texts | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | texts, inner, max_size=6),
    max_leaves=25,
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Chat messages that both protocols can say."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(texts)})
    for number in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(texts | user_parts)})
        answer: dict[str, Any] = {"role": "assistant", "content": draw(texts)}
        calls = [
            {
                "id": f"call_{number}_{place}",
                "type": "function",
                "function": {"name": draw(names), "arguments": json.dumps(draw(objects))},
            }
            for place in range(draw(st.integers(0, 3)))
        ]
        if calls:
            answer["tool_calls"] = calls
            answer["content"] = draw(st.none() | texts)
        messages.append(answer)
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": draw(texts | text_parts)} for call in calls
        ]
    return messages


text_parts = st.lists(st.builds(lambda text: {"type": "text", "text": text}, texts), min_size=1, max_size=3)
images = st.sampled_from(["data:image/png;base64,aGk=", "https://x.example/a.png"])
user_parts = st.lists(
    st.builds(lambda text: {"type": "text", "text": text}, texts)
    | st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, images),
    min_size=1,
    max_size=3,
)
tools = st.lists(
    st.builds(
        lambda name, schema: {"type": "function", "function": {"name": name, "description": "d", "parameters": schema}},
        names,
        objects,
    ),
    min_size=1,
    max_size=3,
)
choices = st.sampled_from(["auto", "required", {"type": "function", "function": {"name": "f"}}])
requests = st.fixed_dictionaries(
    {"model": texts, "messages": conversations(), "max_completion_tokens": st.integers(1, 9999)},
    optional={
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "stop": st.lists(texts, min_size=1, max_size=4),
        "user": texts,
        "service_tier": st.sampled_from(["auto", "default"]),
        "reasoning_effort": st.sampled_from(["low", "medium", "high", "xhigh"]),
        "response_format": st.builds(
            lambda schema: {
                "type": "json_schema",
                "json_schema": {"name": "output", "schema": schema, "strict": True},
            },
            objects,
        ),
    },
)


def body_of(translation: Translation) -> dict[str, Any]:
    return {name: json.loads(bytes(raw)) for name, raw in translation.call.fields.items()}


def canonical(body: dict[str, Any]) -> dict[str, Any]:
    """Arguments of tools are texts of JSON, equal where their values are."""
    for message in body["messages"]:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return body


@given(requests, st.none() | st.tuples(tools, choices, st.booleans()))
def test_a_chat_request_survives_the_way_there_and_back(
    body: dict[str, Any], tooling: tuple[list[Any], Any, bool] | None
) -> None:
    if tooling is not None:
        body = {**body, "tools": tooling[0], "tool_choice": tooling[1], "parallel_tool_calls": tooling[2]}
    there = translated("chat", "messages", body, strict=True)
    back = translated("messages", "chat", body_of(there), strict=True)
    assert there.dropped == back.dropped == ()
    assert canonical(body_of(back)) == canonical(body)


@given(st.lists(texts, min_size=1, max_size=3), st.none() | texts, st.lists(st.tuples(names, objects), max_size=3))
def test_an_answer_survives_the_way_there_and_back(
    pieces: list[str], thought: str | None, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    content: list[dict[str, Any]] = []
    if thought is not None:
        content.append({"type": "thinking", "thinking": thought, "signature": "SIG"})
    content.append({"type": "text", "text": "".join(pieces)})
    content += [
        {"type": "tool_use", "id": f"t{number}", "name": name, "input": given}
        for number, (name, given) in enumerate(calls)
    ]
    usage = {"input_tokens": 3, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 1, "output_tokens": 9}
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "c", "content": content,
        "stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None, "usage": usage,
    }  # fmt: skip
    to_chat = translated("chat", "messages", {"model": "m", "messages": []})
    to_messages = translated("messages", "chat", {"model": "m", "messages": []})
    assert json.loads(to_messages.whole(to_chat.whole(json.dumps(message).encode()))) == message
    # the same answer as a stream
    events: list[Any] = [{"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}]
    for index, block in enumerate(content):
        field, kind = {
            "thinking": ("thinking", "thinking_delta"),
            "text": ("text", "text_delta"),
            "tool_use": ("partial_json", "input_json_delta"),
        }[block["type"]]
        text = json.dumps(block["input"]) if block["type"] == "tool_use" else block[block["type"]]
        events.append({"type": "content_block_start", "index": index, "content_block": _empty(block)})
        parts = [text[:3], text[3:]] if block["type"] != "text" else pieces
        events += [
            {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: part}} for part in parts
        ]
        if block["type"] == "thinking":
            signed = {"type": "signature_delta", "signature": "SIG"}
            events.append({"type": "content_block_delta", "index": index, "delta": signed})
        events.append({"type": "content_block_stop", "index": index})
    events += [
        {"type": "message_delta", "delta": {"stop_reason": message["stop_reason"]}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    streamed = translated("chat", "messages", {"model": "m", "messages": [], "stream": True}, usage_asked=True)
    there = streamed.events()
    chunks = there.feed(events_of(events)) + there.end()
    back = translated("messages", "chat", {"model": "m", "messages": [], "stream": True}).events()
    assert gathered(data_of(back.feed(chunks) + back.end())) == message


def _empty(block: dict[str, Any]) -> dict[str, Any]:
    if block["type"] == "tool_use":
        return {**block, "input": {}}
    return {**block, block["type"]: "", **({"signature": ""} if block["type"] == "thinking" else {})}


@pairs
@given(body=st.dictionaries(st.sampled_from(KEYS), rubbish, max_size=8), strict=st.booleans())
def test_a_rubbish_request_is_translated_or_refused(
    client: str, upstream: str, body: dict[str, Any], strict: bool
) -> None:
    with contextlib.suppress(RequestRefused):
        translation = translated(client, upstream, body, strict=strict)
        assert not (strict and translation.dropped)
        body_of(translation)


@pairs
@given(messages=st.lists(st.dictionaries(st.sampled_from(KEYS), rubbish, max_size=6), max_size=4))
def test_rubbish_messages_are_translated_or_refused(client: str, upstream: str, messages: list[Any]) -> None:
    for message in messages:
        message.setdefault("role", "user")
    with contextlib.suppress(RequestRefused):
        body_of(translated(client, upstream, {"model": "m", "messages": messages}))


@pairs
@given(body=st.binary(max_size=80) | rubbish.map(lambda value: json.dumps(value).encode()))
def test_a_rubbish_answer_is_translated_or_an_error_of_ours(client: str, upstream: str, body: bytes) -> None:
    translation = translated(client, upstream, {"model": "m", "messages": []})
    with contextlib.suppress(TetradError):
        json.loads(translation.whole(body))
    status, told = translation.error(500, body)
    assert status == 500
    assert json.loads(told)["error"]["message"]
    translation.outcome(Outcome(output=body, finish_reasons=("odd",)))


@pairs
@given(
    pieces=st.lists(
        st.binary(max_size=40)
        | st.sampled_from([b"\n\n", b"\r\n\r\n", b"data: ", b"data: [DONE]\n\n", b"event: x\n", b": ping\n\n"])
        | rubbish.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n"),
        max_size=12,
    )
)
def test_a_rubbish_stream_is_translated_or_an_error_of_ours(client: str, upstream: str, pieces: list[bytes]) -> None:
    body = {"model": "m", "messages": [], "stream": True}
    events = translated(client, upstream, body, usage_asked=True).events()
    with contextlib.suppress(TetradError):
        said = b"".join(events.feed(piece) for piece in pieces)
        data_of(said + events.end())
        assert events.done
