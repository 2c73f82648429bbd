"""Clients that speak OpenAI's chat completions to Mistral, whose dialect refuses every field that it does not know.

Names differ (`max_tokens`, `random_seed`), ids of calls have nine letters or digits, and thoughts come as parts of the
content. Source: docs.mistral.ai, "Chat completion".
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE
from tetrad.serving._operations import MISTRAL
from tetrad.serving.errors import BadAnswer, StreamBroken
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._chat_tools import LostCalls, choice_of, declared_functions
from tetrad.serving.translation._events import EventReader
from tetrad.serving.translation._kinds import Translation
from tetrad.serving.translation._saying import (
    Losses,
    as_list,
    as_object,
    as_text,
    decoded,
    encoded,
    guarded,
    no_role,
)

_SAME = (
    "model", "temperature", "top_p", "stream", "stop", "n", "presence_penalty", "frequency_penalty", "response_format",
    "parallel_tool_calls", "prediction", "safe_prompt", "prompt_mode", "random_seed", "reasoning_effort", "metadata",
)  # fmt: skip
_SAID = frozenset(
    (*_SAME, "messages", "max_tokens", "max_completion_tokens", "seed", "tools", "tool_choice", "stream_options")
)
_NEUTRAL: dict[str, Any] = {
    "logprobs": False, "top_logprobs": 0, "store": False, "logit_bias": {}, "verbosity": "medium",
    "service_tier": "auto", "modalities": ["text"],
}  # fmt: skip
_FUNCTION = ("name", "description", "parameters", "strict")
_ID = re.compile(r"[A-Za-z0-9]{9}")
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_encode = msgspec.json.encode


@guarded
def translate(call: ModelCall, strict: bool) -> Translation:
    """Return the call as Mistral takes it; see `Translator`."""
    body, losses = decoded(call.fields), Losses(strict)
    said: dict[str, Any] = {name: body[name] for name in _SAME if name in body}
    said["messages"] = _messages(body, losses)
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None:
        said["max_tokens"] = limit
    if "seed" in body:
        said["random_seed"] = body["seed"]
    _tools(body, said, losses)
    for name, value in body.items():
        if name not in _SAID and not (name in _NEUTRAL and value == _NEUTRAL[name]):
            losses.lose(name)
    # usage comes at the end of every stream, and asking for it is refused
    translated = ModelCall(MISTRAL, encoded(said), call.stream, True, strict=call.strict, batch=call.batch)
    return _Answers(translated, losses.paths)


def _tools(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    tools = []
    for _, _, function, _ in declared_functions(body, losses):
        given = {name: function[name] for name in _FUNCTION if function.get(name) is not None}
        given.setdefault("parameters", {"type": "object", "properties": {}})  # Mistral demands them
        tools.append({"type": "function", "function": given})
    choice = choice_of(body, losses)
    if tools:
        said["tools"] = tools
        if isinstance(choice, dict) and choice.get("type") != "function":
            losses.lose("tool_choice")
        elif choice is not None:
            said["tool_choice"] = "any" if choice == "required" else choice


def _messages(body: dict[str, Any], losses: Losses) -> list[dict[str, Any]]:
    messages, lost = [], LostCalls(losses)
    for number, each in enumerate(as_list(body.get("messages"), "messages")):
        path = f"messages[{number}]"
        message = as_object(each, path)
        if message.get("role") == "function":
            no_role("function", path, losses)
        elif message.get("role") != "tool" or not lost.result(message, path):
            said = _message(message, path, losses, lost)
            if said["content"] or "tool_calls" in said or not message.get("tool_calls"):
                messages.append(said)  # but for one that was calls alone, all of them lost
    return messages


def _message(message: dict[str, Any], path: str, losses: Losses, lost: LostCalls) -> dict[str, Any]:
    role = message.get("role")
    said: dict[str, Any] = {"role": "system" if role == "developer" else role}
    known = {"role", "content", "refusal"}
    content = message.get("content")
    if isinstance(content, list):
        parts = [_part(as_object(each, f"{path}.content[{n}]"), f"{path}.content[{n}]", losses)
                 for n, each in enumerate(content)]  # fmt: skip
        content = [part for part in parts if part is not None]
    said["content"] = content if content is not None else message.get("refusal") or ""
    if role == "assistant":
        calls = []
        for number, each in enumerate(as_list(message.get("tool_calls") or [], f"{path}.tool_calls")):
            place = f"{path}.tool_calls[{number}]"
            if not lost.call(as_object(each, place), place):
                calls.append(_call(each, place))
        if calls:
            said["tool_calls"] = calls
        known |= {"tool_calls"}
    if role == "tool":
        said["tool_call_id"] = short_id(as_text(message.get("tool_call_id"), f"{path}.tool_call_id"))
        known |= {"tool_call_id", "name"}
        if message.get("name") is not None:
            said["name"] = message["name"]
    losses.rest(message, known, path)
    return said


def _call(call: dict[str, Any], path: str) -> dict[str, Any]:
    function = as_object(call.get("function"), f"{path}.function")
    if not function.get("arguments"):
        function = {**function, "arguments": "{}"}  # nothing is no JSON
    return {"id": short_id(as_text(call.get("id"), f"{path}.id")), "type": "function", "function": function}


def _part(part: dict[str, Any], path: str, losses: Losses) -> dict[str, Any] | None:
    kind = part.get("type")
    if kind == "text":
        losses.rest(part, ("type", "text"), path)
        return {"type": "text", "text": part.get("text")}
    if kind == "refusal":  # Mistral has no word for one: it is what the assistant said
        losses.rest(part, ("type", "refusal"), path)
        return {"type": "text", "text": part.get("refusal")}
    if kind == "image_url":
        losses.rest(part, ("type", "image_url"), path)
        return {"type": "image_url", "image_url": part.get("image_url")}
    if kind == "input_audio":
        sound = as_object(part.get("input_audio"), f"{path}.input_audio")
        return {"type": "input_audio", "input_audio": as_text(sound.get("data"), f"{path}.input_audio.data")}
    losses.lose(path)
    return None


def short_id(identity: str) -> str:
    """Return an id of nine letters and digits: itself, or always the same one for the same id."""
    if _ID.fullmatch(identity):
        return identity
    number = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big")
    letters = []
    for _ in range(9):
        number, rest = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[rest])
    return "".join(letters)


def said_plainly(payload: bytes) -> bytes:
    """Return an answer, or a chunk of one, whose thoughts are not among the parts of its content.

    Raises `msgspec.MsgspecError` for what is no JSON object.
    """
    if b'"thinking"' not in payload:
        return payload
    body = msgspec.json.decode(payload, type=dict[str, Any])
    for choice in body.get("choices") or ():
        for name in ("message", "delta"):
            if isinstance(choice, dict) and isinstance(choice.get(name), dict):
                _plain(choice[name])
    return _encode(body)


def _plain(message: dict[str, Any]) -> None:
    parts = message.get("content")
    if not isinstance(parts, list):
        return
    thoughts = [_text(part.get("thinking")) for part in parts if isinstance(part, dict) and "thinking" in part]
    texts = [_text(part.get("text")) for part in parts if isinstance(part, dict) and "text" in part]
    message["content"] = "".join(texts) if texts else None
    if any(thoughts):
        message["reasoning_content"] = "".join(thoughts)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(_text(each.get("text")) for each in value if isinstance(each, dict))
    return value if isinstance(value, str) else ""


class _Answers:
    def __init__(self, call: ModelCall, dropped: tuple[str, ...]) -> None:
        self.call = call
        self.dropped = dropped

    def whole(self, body: bytes) -> bytes:
        try:
            return said_plainly(body)
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's answer is no chat completion: {error}") from None

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        """Return it as it is: the adapter tells errors in OpenAI's words."""
        return status, body

    def events(self) -> _Events:
        return _Events()

    def outcome(self, outcome: Outcome) -> Outcome:
        if b'"thinking"' not in outcome.output:
            return outcome
        try:
            messages = msgspec.json.decode(outcome.output, type=list[Any])
        except UNREADABLE:
            return outcome
        for message in messages:
            if isinstance(message, dict):
                _plain(message)
        return msgspec.structs.replace(outcome, output=_encode(messages))


class _Events:
    """Chunks of Mistral's in, chunks of a chat completion out."""

    def __init__(self) -> None:
        self.done = False
        self._reader = EventReader()
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        return self._said(self._reader.feed(data))

    def end(self) -> bytes:
        said = self._said(self._reader.rest())
        if not self.done:
            if not self._ended:
                raise StreamBroken("the upstream's stream ended before its answer did", hint="try again")
            self.done = True
            said += b"data: [DONE]\n\n"
        return said

    def _said(self, payloads: list[bytes]) -> bytes:
        said = []
        for payload in payloads:
            if self.done:
                break
            if payload == b"[DONE]":
                self.done = True
            else:
                self._ended = self._ended or b'"finish_reason":"' in payload.replace(b" ", b"")
                try:
                    payload = said_plainly(payload)
                except UNREADABLE as error:
                    raise BadAnswer(f"the upstream's stream holds what is no chunk: {error}") from None
            said.append(b"data: " + payload + b"\n\n")
        return b"".join(said)
