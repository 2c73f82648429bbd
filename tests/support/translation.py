"""Requests and streams for tests of translation."""

from __future__ import annotations

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
    client: str, upstream: str, body: dict[str, Any], *, strict: bool = False, usage_asked: bool = False
) -> Translation:
    translate = find(client, [upstream])
    assert translate is not None
    return translate(call_of(client, body, usage_asked=usage_asked), strict)


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
