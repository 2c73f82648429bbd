"""A chat answer as a stream and as a whole: one made of the other, where nothing gets lost or added by it.

Shapes: `chat.completion` and `chat.completion.chunk` of OpenAI's API reference. A field that is not known here may mean
anything, so an answer that has one keeps its form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE

_BLANK = re.compile(rb"\r?\n\r?\n")
_TOP = frozenset(("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"))
_SAID = ("content", "refusal", "reasoning_content")
_DONE = b"data: [DONE]\n\n"


def stream_of(body: bytes) -> bytes | None:
    """Return the events by which a whole answer would have come, usage and end marker too; None where none would."""
    answer = _decoded(body)
    if answer is None or not _known(answer, _TOP) or not isinstance(answer.get("choices"), list):
        return None
    head: dict[str, Any] = {name: answer[name] for name in ("id", "created", "model") if name in answer}
    head["object"] = "chat.completion.chunk"
    head |= {name: answer[name] for name in ("system_fingerprint", "service_tier") if name in answer}
    events = []
    for choice in answer["choices"]:
        delta = _delta(choice)
        if delta is None:
            return None
        place = {"index": choice.get("index", 0)}
        events.append(_event({**head, "choices": [{**place, "delta": delta, "finish_reason": None}]}))
        end = {**place, "delta": {}, "finish_reason": choice.get("finish_reason")}
        events.append(_event({**head, "choices": [end]}))
    if answer.get("usage") is not None:
        events.append(_event({**head, "choices": [], "usage": answer["usage"]}))
    return b"".join([*events, _DONE])


def whole_of(events: bytes) -> bytes | None:
    """Return the answer that a stream told, usage included; None where the stream is torn or holds more than that."""
    if not events.rstrip().endswith(b"[DONE]"):
        return None
    top: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for payload in _payloads(events):
        chunk = _decoded(payload)
        if chunk is None or not _known(chunk, _TOP | {"obfuscation"}):
            return None
        for name in ("id", "created", "model", "system_fingerprint", "service_tier", "usage"):
            if chunk.get(name) is not None:
                top[name] = chunk[name]
        for choice in chunk.get("choices") or ():
            if not _known(choice, {"index", "delta", "finish_reason"}):
                return None
            told = choices.setdefault(choice.get("index", 0), {"finish_reason": None, "tool_calls": {}})
            told["finish_reason"] = choice.get("finish_reason") or told["finish_reason"]
            if not _take(told, choice.get("delta") or {}):
                return None
    if not choices or "usage" not in top or any(told["finish_reason"] is None for told in choices.values()):
        return None
    made = {
        "id": top.pop("id", ""),
        "object": "chat.completion",
        "created": top.pop("created", 0),
        "model": top.pop("model", ""),
        "choices": [_choice(index, choices[index]) for index in sorted(choices)],
    }
    return msgspec.json.encode({**made, **top})


def without_usage(events: bytes) -> bytes:
    """Leave out the events that hold nothing but usage: the client did not ask for them."""
    if b'"usage"' not in events:
        return events
    kept, start = [], 0
    for match in _BLANK.finditer(events):
        event = events[start : match.end()]
        start = match.end()
        if not (b'"usage"' in event and any(map(_is_usage, _payloads(event)))):
            kept.append(event)
    kept.append(events[start:])
    return b"".join(kept)


class _Tail(msgspec.Struct, frozen=True):
    choices: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"")


_tails = msgspec.json.Decoder(_Tail)


def _is_usage(payload: bytes) -> bool:
    try:
        tail = _tails.decode(payload)
    except UNREADABLE:
        return False
    return tail.choices == [] and bytes(tail.usage) not in (b"", b"null")


def _payloads(events: bytes) -> Iterator[bytes]:
    for line in events.split(b"\n"):
        if line.startswith(b"data:"):
            payload = line[5:].strip()
            if payload and payload != b"[DONE]":
                yield payload


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _decoded(data: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except UNREADABLE:
        return None


def _known(found: Any, names: frozenset[str] | set[str]) -> bool:
    """Tell whether an object says nothing beside these names; null and [] say nothing."""
    return isinstance(found, dict) and all(
        name in names or value is None or value == [] for name, value in found.items()
    )


def _delta(choice: Any) -> dict[str, Any] | None:
    if not _known(choice, {"index", "message", "finish_reason"}) or choice.get("finish_reason") is None:
        return None
    message = choice.get("message")
    if not _known(message, {"role", *_SAID, "tool_calls"}):
        return None
    delta = {name: message[name] for name in ("role", *_SAID) if message.get(name) is not None}
    if not all(isinstance(value, str) for value in delta.values()):
        return None
    if "content" in message and "content" not in delta:
        delta["content"] = None
    calls = message.get("tool_calls")
    if calls:
        if not all(_is_call(call) for call in calls):
            return None
        delta["tool_calls"] = [{"index": place, **call} for place, call in enumerate(calls)]
    return delta


def _is_call(call: Any) -> bool:
    return (
        _known(call, {"id", "type", "function"})
        and _known(call.get("function"), {"name", "arguments"})
        and all(isinstance(value, str) for value in call["function"].values())
    )


def _take(told: dict[str, Any], delta: Any) -> bool:
    if not _known(delta, {"role", *_SAID, "tool_calls"}):
        return False
    if delta.get("role") is not None:
        told["role"] = delta["role"]
    for name in _SAID:
        text = delta.get(name)
        if text is not None:
            if not isinstance(text, str):
                return False
            told.setdefault(name, []).append(text)
    for call in delta.get("tool_calls") or ():
        if not _known(call, {"index", "id", "type", "function"}):
            return False
        function = call.get("function") or {}
        if not _known(function, {"name", "arguments"}):
            return False
        known = told["tool_calls"].setdefault(call.get("index", 0), {"id": "", "type": "function", "said": ["", ""]})
        known["id"] = call.get("id") or known["id"]
        known["type"] = call.get("type") or known["type"]
        known["said"][0] += function.get("name") or ""
        known["said"][1] += function.get("arguments") or ""
    return True


def _choice(index: int, told: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": told.get("role", "assistant"), "content": None}
    for name in _SAID:
        if name in told:
            message[name] = "".join(told[name])
    if told["tool_calls"]:
        message["tool_calls"] = [
            {
                "id": call["id"],
                "type": call["type"],
                "function": {"name": call["said"][0], "arguments": call["said"][1]},
            }
            for _, call in sorted(told["tool_calls"].items())
        ]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": told["finish_reason"]}
