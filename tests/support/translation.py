"""Requests and streams for tests of translation."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from tetrad.serving import OPERATIONS
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation import Translation, find

NAMED = {operation.name: operation for operation in OPERATIONS}


def call_of(operation: str, body: dict[str, Any], *, usage_asked: bool = False) -> ModelCall:
    fields = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
    return ModelCall(NAMED[operation], fields, bool(body.get("stream")), usage_asked)


def translated(
    client: str,
    upstream: str,
    body: dict[str, Any],
    *,
    strict: bool = False,
    usage_asked: bool = False,
    maker: str = "openai/m",
) -> Translation:
    translate = find(client, [upstream])
    assert translate is not None
    return translate(msgspec.structs.replace(call_of(client, body, usage_asked=usage_asked), maker=maker), strict)


def events_of(items: list[Any]) -> bytes:
    """Return server-sent events, named where their data has a type."""
    data = b""
    for item in items:
        if isinstance(item, str):
            data += f"data: {item}\n\n".encode()
        else:
            name = f"event: {item['type']}\n".encode() if "type" in item else b""
            data += name + b"data: " + msgspec.json.encode(item) + b"\n\n"
    return data


def data_of(events: bytes) -> list[Any]:
    """Return the data of server-sent events, and check that a name is the type of its data."""
    found: list[Any] = []
    for event in events.split(b"\n\n"):
        lines = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line)
        if b"data" not in lines:
            continue
        item = lines[b"data"].decode() if lines[b"data"] == b"[DONE]" else msgspec.json.decode(lines[b"data"])
        if b"event" in lines:
            assert item["type"] == lines[b"event"].decode()
        found.append(item)
    return found


def claude_message(content: list[dict[str, Any]], reason: str = "tool_use") -> dict[str, Any]:
    """Return a whole answer in Messages."""
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": content,
            "stop_reason": reason, "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip


def claude_stream(content: list[dict[str, Any]], reason: str = "tool_use") -> bytes:
    """Return a stream of Messages that tells every text in two pieces."""
    events: list[dict[str, Any]] = [{"type": "message_start", "message": claude_message([])}]
    for index, block in enumerate(content):
        kind, deltas, empty = block["type"], [], dict(block)
        for name, delta in (("thinking", "thinking"), ("text", "text")):
            if kind == name:
                empty = {"type": kind, name: ""}
                half = len(block[name]) // 2
                deltas = [{"type": f"{delta}_delta", name: piece} for piece in (block[name][:half], block[name][half:])]
        if kind == "thinking":
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        if kind == "tool_use":
            empty = {**block, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 1}})
    return events_of([*events, {"type": "message_stop"}])


def gathered(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a streamed message together, as a client does: one block after the other."""
    message: dict[str, Any] = {}
    open_at = -1
    texts: dict[int, str] = {}
    for event in events:
        if event["type"] == "message_start":
            message = event["message"]
        elif event["type"] == "content_block_start":
            assert open_at == -1
            open_at = event["index"]
            assert open_at == len(message["content"])
            message["content"].append(event["content_block"])
        elif event["type"] == "content_block_delta":
            assert event["index"] == open_at
            delta, block = event["delta"], message["content"][open_at]
            if delta["type"] == "input_json_delta":
                texts[open_at] = texts.get(open_at, "") + delta["partial_json"]
            else:
                field = delta["type"].removesuffix("_delta")
                block[field] += delta[field]
        elif event["type"] == "content_block_stop":
            assert event["index"] == open_at
            open_at = -1
        elif event["type"] == "message_delta":
            message.update(event["delta"])
            message["usage"] = event["usage"]
    assert open_at == -1
    for index, text in texts.items():
        message["content"][index]["input"] = json.loads(text)
    return message
